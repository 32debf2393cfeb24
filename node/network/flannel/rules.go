package flannel

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"airgap/node/config"
)

// rules are those of the firewall that pods need: address translation in a table of our own, and, where
// another program's forward chain drops by default, rules in that chain that accept pods' packets. (A chain
// of our own cannot do that: a packet must be accepted by every chain of a hook.)
type rules struct {
	script  string         // makes the table, whatever is there
	count   int            // of translating rules in it
	cluster []netip.Prefix // accepted when forwarded

	mutex   sync.Mutex
	foreign map[string]bool // tables that hold rules of ours, "ip filter"
}

// translation gives a packet the node's address, and a port chosen at random: of ports chosen in order, two connections
// made at once may get the same one, and the packets of one are dropped.
const translation = "masquerade fully-random"

// newRules makes the rules for a node's pods. IPv6 is translated only if masquerade6 is set.
func newRules(cluster, pods []netip.Prefix, masquerade6 bool) *rules {
	var lines []string
	for _, own := range pods {
		family, multicast := "ip", "224.0.0.0/4"
		if own.Addr().Is6() {
			if family, multicast = "ip6", "ff00::/8"; !masquerade6 {
				continue
			}
		}
		i := slices.IndexFunc(cluster, func(c netip.Prefix) bool { return c.Addr().Is4() == own.Addr().Is4() })
		if i < 0 {
			continue
		}
		all := cluster[i].String()
		// What leaves the cluster has the node's address.
		lines = append(lines, fmt.Sprintf("%s saddr %s %s daddr != { %s, %s } %s", family, own, family, all, multicast, translation))
		// What comes from outside, for a pod of another node, must come back this way.
		if own != cluster[i] {
			lines = append(lines, fmt.Sprintf("%s saddr != %s %s daddr %s %s daddr != %s %s", family, all, family, all, family, own, translation))
		}
	}
	table := "inet " + config.PodTable
	script := []string{"add table " + table, "delete table " + table, "add table " + table,
		"add chain " + table + " postrouting { type nat hook postrouting priority srcnat; policy accept; }"}
	for _, line := range lines {
		script = append(script, "add rule "+table+" postrouting "+line)
	}
	return &rules{script: strings.Join(script, "\n") + "\n", count: len(lines), cluster: cluster, foreign: map[string]bool{}}
}

// apply puts all rules in place, replacing those of an earlier run in one step.
func (r *rules) apply(ctx context.Context) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if _, err := nft(ctx, r.script, "-f", "-"); err != nil {
		return fmt.Errorf("address translation of pods: %w", err)
	}
	return r.acceptForwarded(ctx)
}

// restore puts back what is missing, and says whether anything was.
func (r *rules) restore(ctx context.Context) (bool, error) {
	if !r.intact(ctx) {
		return true, r.apply(ctx)
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return false, r.acceptForwarded(ctx)
}

// intact says whether our table has all its rules.
func (r *rules) intact(ctx context.Context) bool {
	listing, err := nft(ctx, "", "--stateless", "list", "table", "inet", config.PodTable)
	return err == nil && strings.Contains(listing, "hook postrouting") && strings.Count(listing, translation) == r.count
}

// chain is one of nf_tables, as nft lists it.
type chain struct {
	Family, Table, Name, Hook, Policy string
}

// acceptForwarded adds the accepting rules to every forward chain that drops by default and lacks them.
func (r *rules) acceptForwarded(ctx context.Context) error {
	out, err := nft(ctx, "", "-j", "list", "chains")
	if err != nil {
		return err
	}
	chains, err := dropping([]byte(out))
	if err != nil {
		return err
	}
	clear(r.foreign)
	for _, c := range chains {
		r.foreign[c.Family+" "+c.Table] = true
		existing, err := nft(ctx, "", "list", "chain", c.Family, c.Table, c.Name)
		if err != nil {
			return err
		}
		wanted := r.accepting(c)
		if strings.Count(existing, `comment "`+config.ForwardMarker+`"`) == len(wanted) {
			continue
		}
		if _, err := nft(ctx, strings.Join(wanted, "\n")+"\n", "-f", "-"); err != nil {
			return fmt.Errorf("accept pods' packets in chain %s %s %s, which drops by default: %w", c.Family, c.Table, c.Name, err)
		}
	}
	return nil
}

// dropping returns the forward chains that drop by default, from nft's list of all chains.
func dropping(list []byte) ([]chain, error) {
	var document struct {
		NFTables []struct{ Chain *chain }
	}
	if err := json.Unmarshal(list, &document); err != nil {
		return nil, fmt.Errorf("nft's list of chains: %w", err)
	}
	var found []chain
	for _, entry := range document.NFTables {
		c := entry.Chain
		if c != nil && c.Hook == "forward" && c.Policy == "drop" && slices.Contains([]string{"ip", "ip6", "inet"}, c.Family) {
			found = append(found, *c)
		}
	}
	return found, nil
}

// accepting are the rules for a forward chain of another program, each to be put in front.
func (r *rules) accepting(c chain) []string {
	var lines []string
	for _, network := range r.cluster {
		family := "ip"
		if network.Addr().Is6() {
			family = "ip6"
		}
		if c.Family != "inet" && c.Family != family {
			continue
		}
		for _, field := range []string{"saddr", "daddr"} {
			lines = append(lines, fmt.Sprintf("insert rule %s %s %s %s %s %s accept comment \"%s\"",
				c.Family, c.Table, c.Name, family, field, network, config.ForwardMarker))
		}
	}
	return lines
}

// nft runs the distribution's own nft, which is first in the path.
func nft(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "nft", args...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
