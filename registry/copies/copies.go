package copies

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"

	"airgap/registry/distribution"
)

const (
	interval = time.Minute
	// settle gathers the changes of one push into one round.
	settle = 300 * time.Millisecond
	// maxPeersAtOnce bounds how many nodes are asked at once for what they hold.
	maxPeersAtOnce = 8
)

// Options of a node's copies.
type Options struct {
	Self   string        // this node's name
	Nodes  func() []Node // of the site at this moment, this one among them; without it nothing is done
	Copies int           // how many nodes keep a repository, at least 1
	Client *http.Client  // shows this node's certificate; without a Timeout
	Blobs  content.Store // containerd's, where what is taken is stored
	Report func(error)   // what failed and is tried again
}

// Copies is one node's part. It is the site's [distribution.Others].
type Copies struct {
	options Options
	wake    chan struct{}

	mu    sync.Mutex
	known map[string][]distribution.Record // by node: what it said last
}

// New returns a node's part, to be handed to its [distribution.Site] and then run with it.
func New(o Options) *Copies {
	return &Copies{options: o, wake: make(chan struct{}, 1), known: map[string][]distribution.Record{}}
}

// Wake makes the next round begin now.
func (c *Copies) Wake() {
	select {
	case c.wake <- struct{}{}:
	default: // one is asked for already
	}
}

// Run makes rounds until ctx is done.
func (c *Copies) Run(ctx context.Context, site *distribution.Site) {
	for {
		if err := c.round(ctx, site); err != nil && ctx.Err() == nil {
			c.options.Report(fmt.Errorf("copies of pushed images: %w", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		case <-c.wake:
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
		}
	}
}

// homes are the nodes that keep a repository.
func (c *Copies) homes(repository string, nodes []Node) []Node {
	order := Rank(repository, nodes)
	return order[:min(max(c.options.Copies, 1), len(order))]
}

// holder is a node with what it holds.
type holder struct {
	node    Node
	records map[string]distribution.Record // by name
}

// round brings this node to what it should hold.
func (c *Copies) round(ctx context.Context, site *distribution.Site) error {
	nodes := c.options.Nodes()
	if !slices.ContainsFunc(nodes, c.isSelf) {
		return nil // who is of the site is not known yet, and nothing must be forgotten
	}
	others := c.ask(ctx, nodes)
	list, err := site.Records(ctx)
	if err != nil {
		return err
	}
	own := byName(list)
	latest := maps.Clone(own)
	for _, other := range others {
		for name, record := range other.records {
			if former, ok := latest[name]; !ok || record.Later(former) {
				latest[name] = record
			}
		}
	}
	behind := map[string]Node{} // homes of something that they lack and this node has
	for _, name := range slices.Sorted(maps.Keys(latest)) {
		record := latest[name]
		homes := c.homes(record.Repository(), nodes)
		mine, have := own[name]
		if slices.ContainsFunc(homes, c.isSelf) && (!have || record.Later(mine)) {
			if err := c.take(ctx, site, record, others); err != nil {
				c.options.Report(fmt.Errorf("take %s: %w", name, err))
				continue
			}
			mine, have = record, true
		}
		if !have {
			continue
		}
		whole := true
		for _, home := range homes {
			if c.isSelf(home) {
				whole = false // it stays here
				continue
			}
			theirs, ok := others[home.Name].records[name]
			if !ok || mine.Later(theirs) {
				whole = false
				behind[home.Name] = home
			}
		}
		if whole {
			if err := site.Drop(ctx, mine); err != nil {
				return err
			}
		}
	}
	for _, node := range behind {
		c.tell(ctx, node)
	}
	return nil
}

func (c *Copies) isSelf(node Node) bool { return node.Name == c.options.Self }

// ask asks all other nodes for what they hold. Those that do not answer are left out.
func (c *Copies) ask(ctx context.Context, nodes []Node) map[string]holder {
	answers := make(chan holder)
	slots := make(chan struct{}, maxPeersAtOnce)
	peers := slices.DeleteFunc(slices.Clone(nodes), c.isSelf)
	for _, node := range peers {
		go func() {
			slots <- struct{}{}
			records, err := c.records(ctx, node)
			<-slots
			if err != nil {
				if ctx.Err() == nil {
					c.options.Report(fmt.Errorf("what node %s holds: %w", node.Name, err))
				}
				answers <- holder{node: node}
				return
			}
			answers <- holder{node, byName(records)}
		}()
	}
	others := map[string]holder{}
	known := map[string][]distribution.Record{}
	for range peers {
		if h := <-answers; h.records != nil {
			others[h.node.Name] = h
			known[h.node.Name] = slices.Collect(maps.Values(h.records))
		}
	}
	c.mu.Lock()
	c.known = known
	c.mu.Unlock()
	return others
}

// byName is never nil.
func byName(list []distribution.Record) map[string]distribution.Record {
	records := make(map[string]distribution.Record, len(list))
	for _, record := range list {
		records[record.Name] = record
	}
	return records
}

// take takes a record from one of the nodes that have it.
func (c *Copies) take(ctx context.Context, site *distribution.Site, record distribution.Record, others map[string]holder) error {
	var from []Node
	for _, name := range slices.Sorted(maps.Keys(others)) {
		if theirs, ok := others[name].records[record.Name]; ok && !record.Later(theirs) {
			from = append(from, others[name].node)
		}
	}
	return site.Take(ctx, record, func(ctx context.Context, desc descriptor) error {
		return c.fetchFrom(ctx, record.Repository(), desc, from)
	})
}

// Records are those that other nodes had in the last round.
func (c *Copies) Records() []distribution.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []distribution.Record
	for _, records := range c.known {
		all = append(all, records...)
	}
	return all
}

// candidates are the other nodes to ask for a route, in order: those that said to have the latest of its name, the
// repository's homes, and those that said to have anything of the repository.
func (c *Copies) candidates(route distribution.Route) []Node {
	nodes := c.options.Nodes()
	name := strings.TrimPrefix(route.String(), distribution.SiteHost+"/")
	c.mu.Lock()
	defer c.mu.Unlock()
	var latest distribution.Record
	for _, records := range c.known {
		for _, record := range records {
			if record.Name == name && (latest.Name == "" || record.Later(latest)) {
				latest = record
			}
		}
	}
	holds := func(node Node, match func(distribution.Record) bool) bool {
		return slices.ContainsFunc(c.known[node.Name], match)
	}
	order := Rank(route.Name, nodes)
	var list []Node
	add := func(node Node) {
		if !c.isSelf(node) && !slices.Contains(list, node) {
			list = append(list, node)
		}
	}
	for _, node := range order {
		if latest.Name != "" && holds(node, func(r distribution.Record) bool { return r.Name == name && !latest.Later(r) }) {
			add(node)
		}
	}
	for _, node := range c.homes(route.Name, nodes) {
		add(node)
	}
	for _, node := range order {
		if holds(node, func(r distribution.Record) bool { return r.Repository() == route.Name }) {
			add(node)
		}
	}
	return list
}
