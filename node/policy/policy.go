// Package policy is what the API server lets in and what it writes down: the admission
// configuration, Pod Security included, and the audit log.
//
// Every server limits how many events are written. With the profile cis, pods outside the system's
// namespaces must meet the Pod Security standard "restricted" unless their namespace says
// otherwise by its labels, services have no addresses outside the cluster, service account tokens end
// after an hour, and every request is logged without its content.
package policy

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"text/template"

	"airgap/internal/atomicfile"
	"airgap/node/config"
)

//go:embed admission.yaml
var admissionTemplate string

//go:embed audit.yaml
var auditPolicy []byte

// Bounds of the audit log: the CIS benchmark's least (1.2.17 to 1.2.19). At most
// AuditFiles+1 files of AuditFileMiB are kept.
const (
	AuditDays    = 30
	AuditFiles   = 10
	AuditFileMiB = 100
)

// exemptNamespaces run what the node itself consists of: add-ons that need the host.
var exemptNamespaces = []string{"kube-system", "kube-public", "kube-node-lease"}

// AdmissionFile is the API server's --admission-control-config-file.
func AdmissionFile(p config.Paths) string { return filepath.Join(p.Server(), "etc", "admission.yaml") }

// AuditLog is where the audit log is written with the profile cis.
func AuditLog(p config.Paths) string { return filepath.Join(p.Server(), "logs", "audit.log") }

func auditFile(p config.Paths) string { return filepath.Join(p.Server(), "etc", "audit.yaml") }

// Write writes the files that Args names.
func Write(cfg *config.Server) error {
	paths := config.PathsOf(cfg.DataDir)
	for _, dir := range []string{filepath.Dir(AdmissionFile(paths)), filepath.Dir(AuditLog(paths))} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	t, err := template.New("admission.yaml").Parse(admissionTemplate)
	if err != nil {
		return err
	}
	var admission bytes.Buffer
	err = t.Execute(&admission, map[string]any{"Restricted": cfg.Has(config.ProfileCIS), "Exempt": exemptNamespaces})
	if err != nil {
		return fmt.Errorf("admission configuration: %w", err)
	}
	if err := atomicfile.Write(AdmissionFile(paths), admission.Bytes(), 0o600); err != nil {
		return err
	}
	return atomicfile.Write(auditFile(paths), auditPolicy, 0o600)
}

// Args are the flags of the API server for the server's profiles.
func Args(cfg *config.Server) []string {
	paths := config.PathsOf(cfg.DataDir)
	args := []string{
		"--enable-admission-plugins=NodeRestriction,EventRateLimit",
		"--admission-control-config-file=" + AdmissionFile(paths),
	}
	if !cfg.Has(config.ProfileCIS) {
		return args
	}
	return append(args,
		"--enable-admission-plugins=DenyServiceExternalIPs",
		"--service-account-extend-token-expiration=false",
		"--audit-policy-file="+auditFile(paths),
		"--audit-log-path="+AuditLog(paths),
		"--audit-log-maxage="+strconv.Itoa(AuditDays),
		"--audit-log-maxbackup="+strconv.Itoa(AuditFiles),
		"--audit-log-maxsize="+strconv.Itoa(AuditFileMiB),
	)
}
