package addons

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"

	nodeconfig "airgap/node/config"
)

// State is what became of a file.
type State string

const (
	Applied State = "Applied" // the cluster agrees with the file
	Failed  State = "Failed"  // the message says why; tried again by itself if that can help
	Pending State = "Pending" // seen, not applied yet
	Skipped State = "Skipped" // left alone: a file with ".skip" added to its name stands beside it
)

// FileStatus is what became of one file of the manifests folder.
type FileStatus struct {
	File    string      `json:"file"` // path relative to the folder
	State   State       `json:"state"`
	Message string      `json:"message,omitempty"`
	SHA256  string      `json:"sha256,omitempty"` // of the content to which State refers; hex
	Objects []Reference `json:"objects,omitempty"`
}

const (
	recordLabel  = nodeconfig.AddOnLabel // on every record
	recordPrefix = "airgap-addon-"
	// messageBytes bounds a message, in a record as in an event (which the API bounds by 1024).
	messageBytes = 1000
)

// A record is what the cluster remembers of one file: which objects are there because of it.
type record struct {
	FileStatus
	node string // whose folder the file is in
}

// recordName returns the name of the ConfigMap that keeps the record of a file: as readable as
// the rules for names allow, and unique.
func recordName(file string) string {
	name := recordPrefix + file
	if len(validation.IsDNS1123Subdomain(name)) == 0 {
		return name
	}
	sum := sha256.Sum256([]byte(file))
	readable := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(file))
	readable = readable[max(0, len(readable)-100):]
	return recordPrefix + strings.Trim(readable, "-") + "-" + hex.EncodeToString(sum[:6])
}

func (r record) configMap() (*corev1.ConfigMap, error) {
	objects, err := json.Marshal(r.Objects)
	if err != nil {
		return nil, err
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name:      recordName(r.File),
			Namespace: metav1.NamespaceSystem,
			Labels:    map[string]string{recordLabel: "true"},
		},
		Data: map[string]string{
			"file":    r.File,
			"node":    r.node,
			"state":   string(r.State),
			"message": r.Message,
			"sha256":  r.SHA256,
			"objects": string(objects),
		},
	}, nil
}

func recordFrom(c *corev1.ConfigMap) (record, error) {
	r := record{
		FileStatus: FileStatus{File: c.Data["file"], State: State(c.Data["state"]), Message: c.Data["message"], SHA256: c.Data["sha256"]},
		node:       c.Data["node"],
	}
	if r.File == "" {
		return record{}, fmt.Errorf("ConfigMap %s/%s: no file named", c.Namespace, c.Name)
	}
	if err := json.Unmarshal([]byte(c.Data["objects"]), &r.Objects); err != nil {
		return record{}, fmt.Errorf("ConfigMap %s/%s: objects: %w", c.Namespace, c.Name, err)
	}
	return r, nil
}

func (r record) equal(s record) bool {
	return r.node == s.node && r.File == s.File && r.State == s.State && r.Message == s.Message &&
		r.SHA256 == s.SHA256 && slices.Equal(r.Objects, s.Objects)
}

// readRecords returns all records of a cluster, by file, and what is wrong with those that cannot
// be read. The objects of such a file stay in the cluster when the file no longer has them.
func readRecords(ctx context.Context, client kubernetes.Interface) (records map[string]record, damaged []error, err error) {
	list, err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: recordLabel})
	if err != nil {
		return nil, nil, fmt.Errorf("read the records of applied manifests: %w", err)
	}
	records = map[string]record{}
	for i := range list.Items {
		r, err := recordFrom(&list.Items[i])
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		records[r.File] = r
	}
	return records, damaged, nil
}

// writeRecord makes the cluster's record of a file be r.
func writeRecord(ctx context.Context, client kubernetes.Interface, r record) error {
	configMap, err := r.configMap()
	if err != nil {
		return err
	}
	configMaps := client.CoreV1().ConfigMaps(configMap.Namespace)
	_, err = configMaps.Update(ctx, configMap, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		_, err = configMaps.Create(ctx, configMap, metav1.CreateOptions{FieldManager: fieldManager})
	}
	if err != nil {
		return fmt.Errorf("write the record of %s: %w", r.File, err)
	}
	return nil
}

func deleteRecord(ctx context.Context, client kubernetes.Interface, file string) error {
	err := client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Delete(ctx, recordName(file), metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete the record of %s: %w", file, err)
	}
	return nil
}

// ReadStatus returns what became of each file, sorted by name, as the cluster's records tell it: for
// processes other than the one in which the [Deployer] runs.
func ReadStatus(ctx context.Context, client kubernetes.Interface) ([]FileStatus, error) {
	records, _, err := readRecords(ctx, client)
	if err != nil {
		return nil, err
	}
	var statuses []FileStatus
	for _, file := range slices.Sorted(maps.Keys(records)) {
		statuses = append(statuses, records[file].FileStatus)
	}
	return statuses, nil
}

// shorten cuts a message to what records and events hold.
func shorten(message string) string {
	if len(message) <= messageBytes {
		return message
	}
	return strings.ToValidUTF8(message[:messageBytes-len("…")], "") + "…"
}
