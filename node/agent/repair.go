package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"airgap/internal/hostinfo"
	"airgap/node/config"
	"airgap/registry"
)

// repairImages sees to it that containerd starts on sound databases. Damaged ones are made anew from the blobs on the disk and the
// record of the images. What containerd knew of containers is lost with them, so pods that still run are ended: the
// kubelet starts them again.
func (a *agent) repairImages(ctx context.Context) error {
	err := registry.CheckDatabases(a.paths.Containerd())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, registry.ErrInUse):
		klog.ErrorS(err, "the image store is not checked")
		return nil
	case !errors.Is(err, registry.ErrDamaged):
		return err
	}
	klog.ErrorS(err, "the image store is made anew")
	repair := config.Repair{
		Time: time.Now().UTC(), What: "images", Damage: err.Error(),
		Aside: filepath.Join(a.paths.Agent(), "damaged-"+time.Now().UTC().Format("20060102T150405Z")),
	}
	record, err := registry.ReadRecord(a.paths.ImageRecord())
	if err != nil {
		klog.ErrorS(err, "the record of the images cannot be read")
	}
	if err := a.endPods(); err != nil {
		return fmt.Errorf("end the pods whose containers are no longer known: %w", err)
	}
	done, err := registry.Rebuild(ctx, registry.RebuildOptions{Root: a.paths.Containerd(), Record: record, Aside: repair.Aside})
	if err != nil {
		return fmt.Errorf("make the image store anew: %w", err)
	}
	repair.Done = fmt.Sprintf("it was made anew of %d blobs (%d MB) in %s: %d images are back, pods were started again", done.Blobs, done.Bytes/1e6, done.Took.Round(100*time.Millisecond), done.Images+done.Pushed)
	if len(done.Lost) > 0 || len(record.Images) == 0 {
		var names []string
		for _, image := range done.Lost {
			names = append(names, image.Name)
		}
		repair.Done += fmt.Sprintf("; %d blobs were damaged, and these images are lost: %s", len(done.Corrupt), strings.Join(names, ", "))
		repair.Remedy = "another node that has them gives them as pods need them; else install the bundle again from the stick"
		if len(record.Images) == 0 {
			repair.Remedy = "there was no record of the images: install the bundle again from the stick"
		}
	}
	if a.options.Repaired != nil {
		a.options.Repaired(repair)
	}
	return nil
}

// endPods kills what runs in pods, and removes what was mounted and leased for them.
func (a *agent) endPods() error {
	host := hostinfo.This()
	killed, err := a.killPods(host)
	if err != nil {
		return err
	}
	if killed > 0 {
		klog.InfoS("ended the processes of pods", "count", killed)
	}
	if left, err := a.unmountPods(host); err != nil || left > 0 {
		return errors.Join(fmt.Errorf("%d mounts are left below %s", left, a.paths.ContainerdState()), err)
	}
	// The addresses of pods that are gone would never be given again.
	return errors.Join(os.RemoveAll(a.paths.ContainerdState()), os.RemoveAll(a.paths.CNIState()), os.MkdirAll(a.paths.CNIState(), 0o700))
}

// killPods kills shims and the processes in the pods' cgroups until there are none, and returns how many there were.
func (a *agent) killPods(host hostinfo.Host) (killed int, err error) {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		pids, err := a.podProcesses(host)
		if err != nil {
			return killed, err
		}
		if len(pids) == 0 {
			return killed, nil
		}
		if time.Now().After(end) {
			return killed, fmt.Errorf("processes %v do not end", pids)
		}
		for _, pid := range pids {
			if unix.Kill(pid, unix.SIGKILL) == nil {
				killed++
			}
		}
	}
}

func (a *agent) podProcesses(host hostinfo.Host) ([]int, error) {
	all, err := host.Processes()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, p := range all {
		if len(p.Args) > 0 && strings.HasPrefix(filepath.Base(p.Args[0]), "containerd-shim") && slices.Contains(p.Args, a.paths.ContainerdSocket()) {
			pids = append(pids, p.PID)
		}
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*" + a.paths.CgroupRoot()) // version 1: one for each controller
	if err != nil {
		return nil, err
	}
	for _, group := range append(groups, "/sys/fs/cgroup"+a.paths.CgroupRoot()) {
		// What ends while it is looked at is none of the errors that matter.
		_ = filepath.WalkDir(group, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() != "cgroup.procs" {
				return nil
			}
			data, _ := os.ReadFile(path)
			for _, field := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 1 && !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	return pids, nil
}

// unmountPods unmounts what containerd has mounted for containers, the last first, and returns how many are left: nothing may be
// removed below a mount. The kubelet looks after its volumes itself.
func (a *agent) unmountPods(host hostinfo.Host) (left int, err error) {
	for range 3 { // one may have propagated from another
		mounts, err := host.Mounts()
		if err != nil {
			return left, err
		}
		left = 0
		for _, m := range slices.Backward(mounts) {
			if !hostinfo.Within(m.Point, a.paths.ContainerdState()) {
				continue
			}
			left++
			if err := unix.Unmount(m.Point, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return left, &os.PathError{Op: "unmount", Path: m.Point, Err: err}
			}
		}
		if left == 0 {
			return 0, nil
		}
	}
	return left, nil
}

// recordImages keeps the record that repairImages works from.
func (a *agent) recordImages(ctx context.Context, client *containerd.Client, pinned []string) error {
	record, err := registry.ReadImages(ctx, client.ImageService())
	if err != nil {
		return err
	}
	return registry.WriteRecord(a.paths.ImageRecord(), record, pinned)
}
