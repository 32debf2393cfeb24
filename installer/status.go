package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"airgap/installer/preflight"
	"airgap/internal/hostinfo"
	"airgap/internal/journal"
	"airgap/node/config"
)

// StatusOptions say which node is looked at.
type StatusOptions struct {
	DataDir    string // empty: the default
	Kubeconfig string // the administrator's; empty: where the node writes it
	// Certificates lists those of the server; nil where the program cannot. It is handed in because reading
	// them is a node's business.
	Certificates func(p config.Paths, kubeconfig string) ([]CertificateStatus, error)
}

// statusPatience bounds all that status waits for: a node that is well answers in a fraction of it.
const statusPatience = 8 * time.Second

// ReadStatus looks at a node. What cannot be seen is in [Status.Unseen], what is wrong in
// [Status.Problems]; the error is [ErrNotInstalled] if there is no node.
func ReadStatus(ctx context.Context, o StatusOptions) (*Status, error) {
	if o.DataDir == "" {
		o.DataDir = config.DefaultDataDir
	}
	p := config.PathsOf(o.DataDir)
	if o.Kubeconfig == "" {
		o.Kubeconfig = p.Kubeconfig()
	}
	s := newStatus(p.DataDir)
	if _, err := os.Lstat(p.Install()); errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: run this as root", err)
	}
	if !hasNode(p) {
		s.Service = ServiceNotInstalled
		s.complain("there is no node with the data folder %s", p.DataDir)
		return s, fmt.Errorf("%w: there is no node with the data folder %s", ErrNotInstalled, p.DataDir)
	}
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	if err := s.readService(p); err != nil {
		return nil, err
	}
	var running sync.WaitGroup
	var disk DiskStatus
	var memory []ProcessStatus
	var parts []ComponentStatus
	var diskErr, memoryErr, partsErr, clusterErr error
	var answer cluster
	running.Go(func() { disk, diskErr = readDisk(p) })
	running.Go(func() { memory, memoryErr = readMemory(hostinfo.This(), p) })
	running.Go(func() { parts, partsErr = readAgentComponents(ctx, p) })
	s.Role = roleOfMachine(p)
	if s.Role == RoleServer {
		running.Go(func() { clusterErr = answer.read(ctx, o.Kubeconfig) })
	}
	running.Wait()

	if err := s.readInstall(p); err != nil {
		return nil, err
	}
	if err := s.readJournal(p); err != nil {
		return nil, err
	}
	if s.Role == RoleAgent {
		s.tellJoined(p)
		s.tellAgent(parts, partsErr)
		s.tellJoinedCertificates(p, time.Now())
	} else {
		s.tellServer(p, clusterErr)
		s.tellDatastore(p)
		s.tellAgent(parts, partsErr)
		if clusterErr == nil {
			s.tellCluster(&answer)
		}
		s.tellCertificates(o, p)
	}
	s.tellRepairs(p, time.Now())
	s.tellIdentity(p)
	s.tellDisk(disk, diskErr)
	s.Memory = memory
	s.cannotSee("memory", memoryErr)
	return s, nil
}

// cannotSee notes what an error keeps from being known.
func (s *Status) cannotSee(what string, err error) {
	switch {
	case errors.Is(err, fs.ErrPermission):
		s.Unseen = append(s.Unseen, what+" (for root alone)")
	case err != nil:
		s.Unseen = append(s.Unseen, what+" ("+brief(err)+")")
	}
}

// readInstall reads what installs have left.
func (s *Status) readInstall(p config.Paths) error {
	all, err := readAccepted(p)
	if errors.Is(err, fs.ErrPermission) {
		s.cannotSee("installs", err)
		return nil
	}
	if err != nil {
		return err
	}
	for name, a := range sorted(all) {
		s.Bundles = append(s.Bundles, BundleStatus{Name: name, Version: a.Version, Time: a.Time})
	}
	reports, err := readReports(p)
	if err != nil || len(reports) == 0 {
		return err
	}
	s.LastInstall = reports[len(reports)-1]
	for _, report := range reports {
		if report.Airgap != "" {
			s.Airgap, s.Kubernetes = report.Airgap, report.Kubernetes
		}
	}
	return nil
}

// readJournal complains of an install that has not come to its end.
func (s *Status) readJournal(p config.Paths) error {
	records, err := journal.Read(filepath.Join(p.Install(), "journal"))
	if errors.Is(err, fs.ErrPermission) {
		s.cannotSee("whether an install was interrupted", err)
		return nil
	}
	if err != nil {
		return err
	}
	t, err := lastTransaction(records)
	if err == nil && t.open {
		s.complain("the install of %s %s has not come to its end: run it again", t.Bundle, t.Version)
	}
	return err
}

func (s *Status) readService(p config.Paths) error {
	host := hostinfo.This()
	managed := &systemd{paths: p, dir: "/etc/systemd/system", booted: host.Systemd(), host: host}
	plain := &supervised{paths: p, host: host} // under OpenRC too
	byUnit, err := managed.running()
	if err != nil {
		return err
	}
	byItself, err := plain.running()
	if err != nil {
		return err
	}
	s.Service, s.LogHint = ServiceRunning, plain.hint()
	if exists(filepath.Join(managed.dir, managed.unit())) {
		s.LogHint = managed.hint()
	}
	if !byUnit && !byItself {
		s.Service = ServiceStopped
		s.complain("the service does not run")
	}
	return nil
}

// tellCertificates tells of all certificates, and complains of those that are not good.
func (s *Status) tellCertificates(o StatusOptions, p config.Paths) {
	if o.Certificates == nil || !exists(p.Server()) {
		return
	}
	list, err := o.Certificates(p, o.Kubeconfig)
	if err != nil {
		s.cannotSee("certificates", err)
		return
	}
	s.Certificates = list
	for _, c := range list {
		if c.Status != CertificateGood {
			s.complain("certificate %s is %s: see airgap certificate check", c.File, c.Status)
		}
	}
}

// tellDisk complains of a disk on which the node cannot work.
func (s *Status) tellDisk(disk DiskStatus, err error) {
	s.cannotSee("disk use", err)
	s.Disk = disk
	switch {
	case disk.ReadOnly:
		s.complain("the file system of %s is read-only", s.DataDir)
	case disk.TotalBytes > 0 && disk.FreeBytes < preflight.ReserveBytes:
		s.complain("%d MB are free on the disk of %s: below %d MB pods are evicted and writes may fail", disk.FreeBytes/1e6, s.DataDir, preflight.ReserveBytes/1_000_000)
	}
}
