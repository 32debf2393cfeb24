package node

import (
	"context"
	"fmt"

	"k8s.io/klog/v2"

	"airgap/internal/sdnotify"
	"airgap/internal/watchdog"
	"airgap/node/config"
)

// watchServer tells the service manager that the server lives, and has parts started again that hang: the server itself
// when its API server answers nothing at all, and only the agent when the kubelet's pods are not looked after.
//
// A datastore that is down is no hang: /livez/ping asks nobody but the API server itself.
func watchServer(ctx context.Context, cfg *config.Server, manager *sdnotify.Manager, abortAgent chan<- struct{}) {
	w := &watchdog.Watchdog{Alive: manager.Alive, Every: manager.Watchdog(), Parts: []watchdog.Part{{
		Name:  "kube-apiserver",
		Proof: watchdog.HTTP(cfg.URL()+"/livez/ping", true),
		Hung: func(err error) {
			klog.ErrorS(err, "the API server hangs: this process asks to be started again")
			manager.Hung()
		},
	}}}
	if !cfg.DisableAgent {
		w.Parts = append(w.Parts, kubeletPart(&cfg.Agent, func(err error) {
			klog.ErrorS(err, "the kubelet hangs: starting the agent again")
			select {
			case abortAgent <- struct{}{}:
			default:
			}
		}))
	}
	w.Run(ctx)
}

// watchAgent is watchServer for an agent on a machine of its own.
func watchAgent(ctx context.Context, cfg *config.Agent, manager *sdnotify.Manager) {
	w := &watchdog.Watchdog{Alive: manager.Alive, Every: manager.Watchdog(), Parts: []watchdog.Part{
		kubeletPart(cfg, func(err error) {
			klog.ErrorS(err, "the kubelet hangs: this process asks to be started again")
			manager.Hung()
		}),
	}}
	w.Run(ctx)
}

// kubeletPart is the kubelet, whose health check fails when its main loop has stood for five minutes: so it does when
// containerd hangs, which is started again with it.
func kubeletPart(cfg *config.Agent, hung func(error)) watchdog.Part {
	return watchdog.Part{
		Name:  "kubelet",
		Proof: watchdog.HTTP(fmt.Sprintf("http://127.0.0.1:%d/healthz", cfg.KubeletHealthPort), false),
		Hung:  hung,
	}
}
