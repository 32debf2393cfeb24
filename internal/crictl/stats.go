package crictl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// StatsFilter says whose statistics are meant.
type StatsFilter struct {
	ID     string
	Pod    string
	Labels map[string]string
	All    bool          // also containers that do not run
	Sample time.Duration // how long processor time is measured
}

// PrintStats is stats: what containers use.
func (c *Client) PrintStats(ctx context.Context, f StatsFilter, format string) error {
	filter := &runtime.ContainerStatsFilter{Id: f.ID, PodSandboxId: f.Pod, LabelSelector: f.Labels}
	list := func() ([]*runtime.ContainerStats, error) { return c.runtime.ListContainerStats(ctx, filter) }
	before, err := list()
	if err != nil {
		return err
	}
	if format != Table {
		return c.message(&runtime.ListContainerStatsResponse{Stats: before}, format)
	}
	used := map[string]*runtime.CpuUsage{}
	for _, s := range before {
		used[s.GetAttributes().GetId()] = s.GetCpu()
	}
	if err := wait(ctx, f.Sample); err != nil {
		return err
	}
	after, err := list()
	if err != nil {
		return err
	}
	slices.SortFunc(after, func(a, b *runtime.ContainerStats) int {
		return cmp.Compare(a.GetAttributes().GetId(), b.GetAttributes().GetId())
	})
	var rows [][]string
	for _, s := range after {
		if s.GetCpu() == nil && !f.All {
			continue // it does not run
		}
		id := s.GetAttributes().GetId()
		rows = append(rows, []string{
			short(id, false), s.GetAttributes().GetMetadata().GetName(), percent(used[id], s.GetCpu()),
			size(s.GetMemory().GetWorkingSetBytes().GetValue()), size(s.GetWritableLayer().GetUsedBytes().GetValue()),
			strconv.FormatUint(s.GetWritableLayer().GetInodesUsed().GetValue(), 10), size(s.GetSwap().GetSwapUsageBytes().GetValue()),
		})
	}
	return c.table([]string{"CONTAINER", "NAME", "CPU %", "MEM", "DISK", "INODES", "SWAP"}, rows)
}

// PrintPodStats is statsp: what pods use.
func (c *Client) PrintPodStats(ctx context.Context, f StatsFilter, format string) error {
	filter := &runtime.PodSandboxStatsFilter{Id: f.ID, LabelSelector: f.Labels}
	list := func() ([]*runtime.PodSandboxStats, error) { return c.runtime.ListPodSandboxStats(ctx, filter) }
	before, err := list()
	if err != nil {
		return err
	}
	if format != Table {
		return c.message(&runtime.ListPodSandboxStatsResponse{Stats: before}, format)
	}
	used := map[string]*runtime.CpuUsage{}
	for _, s := range before {
		used[s.GetAttributes().GetId()] = s.GetLinux().GetCpu()
	}
	if err := wait(ctx, f.Sample); err != nil {
		return err
	}
	after, err := list()
	if err != nil {
		return err
	}
	slices.SortFunc(after, func(a, b *runtime.PodSandboxStats) int {
		return cmp.Compare(a.GetAttributes().GetMetadata().GetName(), b.GetAttributes().GetMetadata().GetName())
	})
	var rows [][]string
	for _, s := range after {
		id := s.GetAttributes().GetId()
		rows = append(rows, []string{
			s.GetAttributes().GetMetadata().GetName(), short(id, false), percent(used[id], s.GetLinux().GetCpu()),
			size(s.GetLinux().GetMemory().GetWorkingSetBytes().GetValue()),
		})
	}
	return c.table([]string{"POD", "POD ID", "CPU %", "MEM"}, rows)
}

// percent is the share of one core that was used between two measurements.
func percent(before, after *runtime.CpuUsage) string {
	elapsed := after.GetTimestamp() - before.GetTimestamp()
	used := int64(after.GetUsageCoreNanoSeconds().GetValue()) - int64(before.GetUsageCoreNanoSeconds().GetValue())
	if before == nil || elapsed <= 0 || used < 0 {
		return "0.00"
	}
	return fmt.Sprintf("%.2f", 100*float64(used)/float64(elapsed))
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
