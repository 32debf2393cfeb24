// Command coredns is CoreDNS with the plugins that a cluster without a network can use.
//
// Upstream's build links 60 plugins and, with them, the clients of three clouds, Nomad,
// etcd and Datadog: 80 MB. The plugins below answer for the cluster, for names that a site
// keeps in the Corefile or in zone files, and forward to the site's own resolver. Their
// order in a chain is upstream's; nxdomain, ours, is the last.
//
// With -corefile in place of upstream's -conf, imported files that are bad are left out, and
// an event of the ConfigMap coredns-custom says why. See package corefile.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/coremain"

	"airgap/airgap-images/coredns/corefile"
	_ "airgap/airgap-images/coredns/nxdomain"

	_ "github.com/coredns/coredns/plugin/acl"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/bufsize"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/cancel"
	_ "github.com/coredns/coredns/plugin/dns64"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/header"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/local"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/minimal"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/root"
	_ "github.com/coredns/coredns/plugin/template"
	_ "github.com/coredns/coredns/plugin/timeouts"
	_ "github.com/coredns/coredns/plugin/transfer"
	_ "github.com/coredns/coredns/plugin/whoami"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == corefile.Trial {
		corefile.RunTrial(os.Args[2], os.Stdin)
	}
	executable, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	loader := &corefile.Loader{Try: corefile.InOwnProcess(executable), Tell: tell}
	flag.StringVar(&loader.Path, "corefile", "", "Corefile to load, without the files that it imports and that are bad")
	caddy.RegisterCaddyfileLoader("corefile", caddy.LoaderFunc(func(serverType string) (caddy.Input, error) {
		if loader.Path == "" {
			return nil, nil
		}
		return loader.Load(serverType)
	}))
	coremain.Run()
}

// tell tells of an imported file that is left out, in the log and, without waiting, in an event.
func tell(file string, why error) {
	log.Printf("[ERROR] %s is left out: %v", file, why)
	pod, _ := os.Hostname() // only said in the event
	event := corefile.Event{Namespace: "kube-system", ConfigMap: "coredns-custom", Pod: pod}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := event.Post(ctx, file, why); err != nil {
			log.Printf("[WARNING] event about %s: %v", file, err)
		}
	}()
}
