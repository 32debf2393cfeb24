package policy

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"sigs.k8s.io/knftables"

	"airgap/node/network/policy/admission"
)

// Options are what a controller needs to know of its node.
type Options struct {
	Node     string
	Bridge   string              // interface that the node's pods are attached to; empty if there is none
	Networks []netip.Prefix      // the cluster's pods; they say which address families there are
	Table    string              // its name
	Tables   knftables.Interface // of that table, of family inet, which the controller alone writes
	StateDir string              // folder for the pods' networks, so that the next agent knows them at once; lost at a reboot
}

// Controller keeps the table true to the cluster's NetworkPolicies. While there is none, it watches
// nothing but them, and there is no table.
type Controller struct {
	api      kubernetes.Interface
	options  Options
	families []family
	reporter reporter

	mu     sync.Mutex
	queue  []change
	wake   chan struct{} // holds one: the queue is not empty
	verify chan struct{} // holds one: somebody else may have changed the table

	// Of the goroutine in Run:
	policies  map[string]*networkingv1.NetworkPolicy // by namespace/name
	sandboxes map[string]*admission.Sandbox          // by ID
	model     *model                                 // nil while there is no policy
	stop      context.CancelFunc                     // ends the model's watches
	replace   bool                                   // the next transaction replaces the table
	failures  int                                    // transactions that failed since the last that did not
}

// change is one thing that happened. Apply is called with the model, which is nil while there is no policy.
type change struct {
	apply func(*model)
	done  func(error) // called when the kernel has it, or not; may be nil
}

// New returns a controller that does nothing before its Run.
func New(api kubernetes.Interface, options Options) *Controller {
	c := &Controller{
		api: api, options: options, reporter: reporter{api: api, node: options.Node, told: map[string]struct{}{}},
		wake: make(chan struct{}, 1), verify: make(chan struct{}, 1),
		policies: map[string]*networkingv1.NetworkPolicy{}, sandboxes: map[string]*admission.Sandbox{},
		replace: true,
	}
	for _, p := range options.Networks {
		if f := familyOf(p.Addr()); !slices.Contains(c.families, f) {
			c.families = append(c.families, f)
		}
	}
	return c
}

// Run enforces the cluster's policies until ctx is done. Then the table stays as it is: the pods
// live on, and are policed until the next Run replaces it in one transaction.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.loadSandboxes(); err != nil {
		return err
	}
	if err := waitForAccess(ctx, c.api); err != nil {
		return err
	}
	if err := follow(ctx, c.policyInformer(), c.policyChanged); err != nil {
		return err
	}
	go watchTable(ctx, c.options.Table, c.verify)
	defer c.deactivate()
	c.signal() // even if nothing is there: a table of an earlier run may be
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.wake:
		case <-retry:
		case <-c.verify:
			if !c.replace && !c.intact(ctx) {
				klog.InfoS("the table of network policies was changed by somebody else; it is made anew")
				c.replace = true
			}
		}
		retry = nil
		if err := c.step(ctx); err != nil && ctx.Err() == nil {
			c.failures++
			wait := min(time.Second<<min(c.failures-1, 5), 30*time.Second)
			klog.ErrorS(err, "network policies could not be put in place; trying again", "in", wait)
			retry = time.After(wait)
		}
	}
}

// step applies all changes that are waiting, in one transaction.
func (c *Controller) step(ctx context.Context) error {
	c.mu.Lock()
	changes := c.queue
	c.queue = nil
	c.mu.Unlock()
	for _, change := range changes {
		change.apply(c.model)
	}
	if c.model == nil && len(c.policies) > 0 {
		if err := c.activate(ctx); err != nil {
			return err
		}
	}
	if c.model != nil && len(c.policies) == 0 {
		c.deactivate()
		c.replace = true
	}
	err := c.commit(ctx)
	for _, change := range changes {
		if change.done != nil {
			change.done(err)
		}
	}
	return err
}

// commit brings the kernel's table up to date.
func (c *Controller) commit(ctx context.Context) error {
	tx := c.options.Tables.NewTransaction()
	switch {
	case c.model == nil && !c.replace:
		return nil
	case c.model == nil:
		removal(tx)
	case c.replace:
		c.model.rules.replacement(tx)
	default:
		c.model.rules.changes(tx)
	}
	if tx.NumOperations() > 0 {
		start := time.Now()
		if err := c.options.Tables.Run(ctx, tx); err != nil {
			// Whatever the kernel has, the next transaction replaces it.
			c.replace = true
			return fmt.Errorf("transaction of %d operations: %w", tx.NumOperations(), err)
		}
		klog.V(4).InfoS("network policies", "operations", tx.NumOperations(), "all", c.replace, "took", time.Since(start))
	}
	c.replace, c.failures = false, 0
	if c.model != nil {
		c.model.rules.committed()
		c.reporter.report(ctx, c.model, c.policies)
	}
	return nil
}

// activate makes the model, of everything there is.
func (c *Controller) activate(ctx context.Context) error {
	m := newModel(c.options.Node, c.options.Bridge, c.families)
	watches, stop := context.WithCancel(ctx)
	// Objects that come while the first ones are awaited wait in the queue, too.
	enqueue := func(apply func(*model)) {
		c.enqueue(change{apply: func(current *model) {
			if current == m {
				apply(m)
			}
		}})
	}
	for _, err := range []error{
		follow(watches, c.namespaceInformer(), func(_, name string, namespace *corev1.Namespace) {
			enqueue(func(m *model) { m.setNamespace(name, labelsOf(namespace)) })
		}),
		follow(watches, c.podInformer(), func(namespace, name string, pod *corev1.Pod) {
			enqueue(func(m *model) {
				m.setPod(namespace, name, pod)
				c.reporter.podChanged(m, namespace)
			})
		}),
	} {
		if err != nil {
			stop()
			return err
		}
	}
	c.model, c.stop, c.replace = m, stop, true
	for _, s := range c.sandboxes {
		m.setSandbox(s.Namespace, s.Name, s)
	}
	for key, p := range c.policies {
		m.setPolicy(p.Namespace, p.Name, p)
		c.reporter.changed(key)
	}
	c.mu.Lock()
	changes := c.queue
	c.queue = nil
	c.mu.Unlock()
	for _, change := range changes {
		change.apply(m)
		if change.done != nil {
			c.enqueue(change) // to be answered after the commit; applying it again changes nothing
		}
	}
	return nil
}

func (c *Controller) deactivate() {
	if c.model != nil {
		c.stop()
		c.model, c.stop = nil, nil
	}
}

func (c *Controller) policyChanged(namespace, name string, object *networkingv1.NetworkPolicy) {
	c.enqueue(change{apply: func(m *model) {
		key := namespace + "/" + name
		if object == nil {
			delete(c.policies, key)
		} else {
			c.policies[key] = object
		}
		if m != nil {
			m.setPolicy(namespace, name, object)
			c.reporter.changed(key)
		}
	}})
}

func (c *Controller) enqueue(change change) {
	c.mu.Lock()
	c.queue = append(c.queue, change)
	c.mu.Unlock()
	c.signal()
}

func (c *Controller) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// intact says whether the chains on the kernel's hooks still have their rules.
func (c *Controller) intact(ctx context.Context) bool {
	if c.model == nil {
		return true
	}
	for _, name := range guarded {
		rules, err := c.options.Tables.ListRules(ctx, name)
		if err != nil || len(rules) != len(c.model.rules.chains[name].rules) {
			return false
		}
	}
	return true
}

// Remove removes the table, if there is one: no policy is enforced any more.
func Remove(ctx context.Context, tables knftables.Interface) error {
	tx := tables.NewTransaction()
	removal(tx)
	return tables.Run(ctx, tx)
}

// removal adds to tx what removes the table, whether there is one or not.
func removal(tx *knftables.Transaction) {
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
}
