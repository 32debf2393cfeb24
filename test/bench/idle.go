package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leastRest is how long a node rests before it counts as at rest: its processes give back the memory of their start
// 45 seconds and two minutes after it (cmd/airgap/light.go).
const leastRest = 150 * time.Second

// idleProfiles are the nodes that are measured, and what server, agent and containerd together may take.
var idleProfiles = []struct {
	title      string
	flags      []string
	mostMB     float64
	mostOfCore float64 // percent of one core, for all processes of the node
}{
	{"default", nil, 400, 3},
	{"`--profile edge`", []string{"--profile", "edge"}, 300, 3},
}

// idleRoles are the processes of a node in the order of their table. Those of the limit come first.
var idleRoles = []string{"server", "agent", "containerd", "supervise", "shim"}

const limitedRoles = 3

// benchIdle measures what a node needs that has nothing to do, for each profile.
func benchIdle(ctx context.Context, b *bench) error {
	for _, profile := range idleProfiles {
		fmt.Printf("**%s**\n\n", profile.title)
		mb, percent, err := b.idleOnce(ctx, profile.title, profile.flags)
		if err != nil {
			return err
		}
		b.hold("server, agent and containerd at rest, "+profile.title, mb, profile.mostMB, "MB")
		b.hold("processor at rest, "+profile.title, percent, profile.mostOfCore, "% of a core")
	}
	return nil
}

// idleOnce measures one node. It returns the memory of server, agent and containerd in MB, and the processor time of all
// the node's processes in percent of one core.
func (b *bench) idleOnce(ctx context.Context, title string, flags []string) (mb, percent float64, err error) {
	s, err := b.newSite()
	if err != nil {
		return 0, 0, err
	}
	defer s.end(&err)
	if _, err := output(s.install(ctx, b.built("dist/system.airgap"), flags...)); err != nil {
		return 0, 0, err
	}
	if _, err := s.awaitAddOns(ctx); err != nil {
		return 0, 0, err
	}
	part := b.window / time.Duration(b.runs)
	say("idle, %s: %s of rest, then %d times %s", title, b.rest, b.runs, part.Round(time.Second))
	if err := pause(ctx, b.rest); err != nil {
		return 0, 0, err
	}
	pss, cpu, count := map[string]series{}, map[string]series{}, map[string]int{}
	var limited, all, busy series
	for range b.runs {
		list := s.processes()
		memory, before, err := shares(list)
		if err != nil {
			return 0, 0, err
		}
		began := time.Now()
		if err := pause(ctx, part); err != nil {
			return 0, 0, err
		}
		_, after, err := shares(list)
		if err != nil {
			return 0, 0, err
		}
		ofPart := 100 / time.Since(began).Seconds() // percent for each second of processor time
		var sum, used float64
		for n, role := range idleRoles {
			count[role] = len(slices.DeleteFunc(slices.Clone(list), func(p process) bool { return p.role != role }))
			if count[role] == 0 {
				return 0, 0, fmt.Errorf("no %s runs", role)
			}
			pss[role] = append(pss[role], memory[role])
			cpu[role] = append(cpu[role], (after[role]-before[role])*ofPart)
			sum, used = sum+memory[role], used+(after[role]-before[role])*ofPart
			if n == limitedRoles-1 {
				limited = append(limited, sum)
			}
		}
		all, busy = append(all, sum), append(busy, used)
	}
	var rows [][]string
	for n, role := range idleRoles {
		name := role
		if role == "shim" {
			name = fmt.Sprintf("shims (pods: %d)", count[role])
		}
		rows = append(rows, []string{name, pss[role].in("MB"), cpu[role].in("%")})
		if n == limitedRoles-1 {
			rows = append(rows, []string{"**server, agent and containerd**", limited.in("MB"), ""})
		}
	}
	rows = append(rows, []string{"all of it", all.in("MB"), busy.in("%")})
	pods, err := s.podRows(ctx)
	if err != nil {
		return 0, 0, err
	}
	printTable([]string{"Process", "Memory (PSS)", fmt.Sprintf("Processor, of one core, in %s", b.window)}, append(rows, pods...))
	fmt.Println()
	return limited.median(), busy.mean(), nil
}

// podRows tells the memory of each pod's own processes.
func (s *site) podRows(ctx context.Context) ([][]string, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, pod := range pods.Items {
		list, err := processesOfPod(string(pod.UID))
		if err != nil {
			return nil, err
		}
		var sum float64
		for _, p := range list {
			mb, err := p.pssMB()
			if err != nil {
				return nil, err
			}
			sum += mb
		}
		if len(list) > 0 {
			rows = append(rows, []string{"pod " + pod.Namespace + "/" + pod.Name, quantity(sum, "MB"), ""})
		}
	}
	return rows, nil
}

// processesOfPod lists the processes in a pod's control group, whose name ends with the pod's UID.
func processesOfPod(uid string) ([]process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var list []process
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(data), "/pod"+uid+"/") {
			continue // it has ended, or is another's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		list = append(list, process{pid: pid, role: "pod"})
	}
	return list, nil
}

// shares sums memory (PSS, MB) and processor time (seconds since their start) by role.
func shares(list []process) (memory, cpu map[string]float64, err error) {
	memory, cpu = map[string]float64{}, map[string]float64{}
	for _, p := range list {
		mb, err := p.pssMB()
		if err != nil {
			return nil, nil, err
		}
		seconds, err := p.cpuSeconds()
		if err != nil {
			return nil, nil, err
		}
		memory[p.role] += mb
		cpu[p.role] += seconds
	}
	return memory, cpu, nil
}
