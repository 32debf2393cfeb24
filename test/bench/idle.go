package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	restBefore = 60 * time.Second // until a node counts as at rest
	restWindow = 30 * time.Second // over which processor time is counted
	mostIdleMB = 450              // server, agent and containerd together
)

// idleRoles are the processes of a node in the order of their table. Those of the limit come first.
var idleRoles = []string{"server", "agent", "containerd", "supervise", "shim"}

const limitedRoles = 3

// benchIdle measures what a node needs that has nothing to do.
func benchIdle(ctx context.Context, b *bench) (err error) {
	s, err := b.newSite(ctx)
	if err != nil {
		return err
	}
	defer s.end(&err)
	if _, err := output(s.install(ctx, b.built("dist/system.airgap"))); err != nil {
		return err
	}
	say("idle: %s of rest, then %d times %s", restBefore, b.runs, restWindow)
	if err := pause(ctx, restBefore); err != nil {
		return err
	}
	pss, cpu, count := map[string]series{}, map[string]series{}, map[string]int{}
	var limited, all series
	for range b.runs {
		list := s.processes()
		memory, before, err := shares(list)
		if err != nil {
			return err
		}
		if err := pause(ctx, restWindow); err != nil {
			return err
		}
		_, after, err := shares(list)
		if err != nil {
			return err
		}
		var sum float64
		for n, role := range idleRoles {
			count[role] = len(slices.DeleteFunc(slices.Clone(list), func(p process) bool { return p.role != role }))
			if count[role] == 0 {
				return fmt.Errorf("no %s runs", role)
			}
			pss[role] = append(pss[role], memory[role])
			cpu[role] = append(cpu[role], after[role]-before[role])
			sum += memory[role]
			if n == limitedRoles-1 {
				limited = append(limited, sum)
			}
		}
		all = append(all, sum)
	}
	var rows [][]string
	for n, role := range idleRoles {
		title := role
		if role == "shim" {
			title = fmt.Sprintf("shims (pods: %d)", count[role])
		}
		rows = append(rows, []string{title, pss[role].in("MB"), cpu[role].in("s")})
		if n == limitedRoles-1 {
			rows = append(rows, []string{"**server, agent and containerd**", limited.in("MB"), ""})
		}
	}
	rows = append(rows, []string{"all of it", all.in("MB"), ""})
	printTable([]string{"Process", "Memory (PSS)", "Processor in " + restWindow.String()}, rows)
	b.hold("server, agent and containerd at rest", limited.median(), mostIdleMB, "MB")
	return nil
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
