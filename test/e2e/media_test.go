package e2e

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"airgap/test/site"
)

// TestMedia brings a node its first bundle in parts that lie in two folders, further ones by standard input, HTTP and a registry, and the first
// one's next version as a delta. What each brings runs.
func TestMedia(t *testing.T) {
	s := newNode(t)
	dir, err := os.MkdirTemp("/var/tmp", "ag-media-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	whole := demoBundle(t)
	run := func(name string, test func(*node)) { t.Run(name, func(t *testing.T) { test(s.within(t)) }) }
	// A small bundle, and how to see that the node got it: its image is nowhere else.
	small := func(name string) (bundle string, arrived func(*node)) {
		spec := fmt.Sprintf("apiVersion: airgap/v1\nkind: Bundle\nmetadata: {name: %s, version: 1.0.0}\nspec:\n  from: []\n  platforms: [linux/amd64]\n"+
			"  images: [{source: \"oci:%s:%s\", name: \"media.example/%s:1\"}]\n  manifests: [%s-pod.yaml]\n", name, site.Built("build/images"), busyboxImage(t), name, name)
		write(t, filepath.Join(dir, name+"-pod.yaml"), fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: default}, spec: {terminationGracePeriodSeconds: 0, "+
			"containers: [{name: main, image: \"media.example/%s:1\", command: [sleep, \"100000\"]}]}}\n", name, name))
		bundle = filepath.Join(dir, name+".airgap")
		buildSpec(t, dir, bundle, name, spec)
		return bundle, func(s *node) { s.Kubectl("wait", "--for=create", "pod/"+name, "--timeout=60s"); s.ready(name) }
	}

	run("parts in two folders", func(s *node) {
		stick, other := filepath.Join(dir, "stick.airgap"), filepath.Join(dir, "other")
		host(s.T, site.Built("bin/airgap"), "split", whole, "--size", "70m", "-o", stick, "--key", site.Built("dist/development.pub"))
		if err := errors.Join(os.Mkdir(other, 0o700), os.Rename(stick+".002", filepath.Join(other, "stick.airgap.002"))); err != nil {
			s.T.Fatal(err)
		}
		s.Install(stick+".001", "--parts-in", other)
		s.Kubectl("-n", "demo", "rollout", "status", "deployment/podinfo", "--timeout=60s")
	})
	run("standard input", func(s *node) {
		bundle, arrived := small("piped")
		file, err := os.Open(bundle)
		if err != nil {
			s.T.Fatal(err)
		}
		defer file.Close()
		cmd := s.Command(s.InstallArgs("-")...)
		cmd.Stdin = file
		site.MustOutput(s.T, cmd)
		arrived(s)
	})
	outside := s.serveOutside(dir)
	run("http", func(s *node) {
		bundle, arrived := small("served")
		s.Install("http://" + outside + "/files/" + filepath.Base(bundle))
		arrived(s)
	})
	run("a registry", func(s *node) {
		bundle, arrived := small("pushed")
		location := "oci://" + outside + "/bundles/pushed:1.0.0"
		s.Airgap("push", bundle, location, "--key", site.Built("dist/development.pub"))
		s.Install(location)
		arrived(s)
	})
	run("a delta", func(s *node) {
		spec, err := os.ReadFile(filepath.Join(filepath.Dir(whole), "demo.yaml"))
		if err != nil {
			s.T.Fatal(err)
		}
		next := strings.NewReplacer("version: 1.0.0", "version: 1.1.0", "images:\n",
			fmt.Sprintf("images:\n    - {source: \"oci:%s:%s\", name: \"media.example/delta:1\"}\n", site.Built("build/images"), busyboxImage(s.T))).Replace(string(spec))
		delta := filepath.Join(dir, "delta.airgap")
		buildSpec(s.T, dir, delta, "delta", next, "--since", whole)
		if info, err := os.Stat(delta); err != nil || info.Size() > 1<<20 {
			s.T.Errorf("the delta of an image whose layers are there: %d bytes, %v", info.Size(), err)
		}
		before := s.containers()
		s.T.Log(s.Airgap(s.upgradeArgs(delta)...))
		if after := s.containers(); after != before {
			s.T.Errorf("containers:\n%swere\n%s", after, before)
		}
		s.Kubectl("run", "delta", "--image=media.example/delta:1", "--restart=Never", "--", "sleep", "100000")
		s.ready("delta")
		site.Eventually(s.T, patience, func() error { return site.Contains("demo 1.1.0", s.Command("status", "--data-dir", s.Paths.DataDir)) })
	})
}

// ready waits until a pod of the namespace default is.
func (s *node) ready(pod string) {
	s.T.Helper()
	s.Kubectl("wait", "--for=condition=Ready", "pod/"+pod, "--timeout=60s")
}

// serveOutside serves a folder's files below /files, and a registry, on a machine of the LAN that is no node, and returns where.
func (s *node) serveOutside(dir string) (address string) {
	s.T.Helper()
	listener, err := s.ListenOutside("tcp", site.OutsideIP+":0")
	if err != nil {
		s.T.Fatal(err)
	}
	serve := http.NewServeMux()
	serve.Handle("/files/", http.StripPrefix("/files/", http.FileServer(http.Dir(dir))))
	serve.Handle("/v2/", registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	server := &http.Server{Handler: serve}
	go func() { _ = server.Serve(listener) }()
	s.T.Cleanup(func() { server.Close() })
	return listener.Addr().String()
}
