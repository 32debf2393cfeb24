package installer

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"

	"airgap/bundle/media"
	"airgap/internal/hostinfo"
	"airgap/node/config"
	"airgap/signing"
)

// Errors a caller decides on; see also [signing.ErrUntrusted] and [PreflightError].
var (
	// ErrRefused says that a rule of trust forbids the bundle: an unknown key, an older version.
	ErrRefused = errors.New("refused")
	// ErrUsage says that the options contradict each other or the machine's state.
	ErrUsage = errors.New("wrong usage")
	// ErrNotInstalled says that the data folder holds no node.
	ErrNotInstalled = errors.New("not installed")
)

// Init is what starts the node and keeps it running.
type Init string

// The service managers.
const (
	InitDetect  Init = ""        // systemd or OpenRC where it runs, else none
	InitSystemd Init = "systemd" // a unit, enabled; started where systemd runs
	InitOpenRC  Init = "openrc"  // a script in the default runlevel; started where OpenRC runs
	InitNone    Init = "none"    // a detached supervisor process; it does not survive a reboot
)

// DefaultTimeout bounds the waits for the node and for the releases, each.
const DefaultTimeout = 10 * time.Minute

// Options is what an install is told.
type Options struct {
	Bundle string        // where the bundle is, as for [media.Open]; empty with Join: those of the cluster
	Media  media.Options // how it is opened
	Join   *JoinOptions  // nil: the machine becomes a cluster's first, or gets a bundle more

	Keys           []signing.PublicKey // accepted by a first install, which makes them the machine's trust
	Identities     []*signing.Identity // accepted like Keys: whose keyless signatures count
	Threshold      int                 // how many of them, or of those that the machine trusts, must have signed; 0: one, or as many as the machine's trust says
	AllowUnsigned  bool                // accept a bundle without any signature
	AllowDowngrade bool                // accept an older version than the highest seen

	Server *config.Server // the node's effective configuration; DataDir says where everything goes
	Config map[string]any // the keys of the configuration file to set; others in it are kept

	Init    Init
	Timeout time.Duration // 0: DefaultTimeout
	Wait    bool          // for another install of the data folder to end, instead of failing
	// Probation is how long a new version must go on after it was Ready, when it takes the place of another; 0: DefaultProbation.
	Probation time.Duration
	// Guard prepares a process that calls [Guard] with its standard input; nil: nothing starts the node again if the install is killed while it is stopped.
	Guard   func(dataDir string, init Init) *exec.Cmd
	Version string // of this executable, to compare with a bundle's minimumAirgap

	Out      io.Writer // where steps are told; nil: nowhere
	Terminal bool      // Out is a terminal: lines may be redrawn

	// Places on the host. Empty: the usual ones.
	EtcDir     string // /etc
	SystemdDir string // systemd/system in EtcDir
	BinDir     string // /usr/local/bin, or /opt/bin where that cannot be written
	Tools      string // folder of the executables that come with this one; empty: they are not there

	host     hostinfo.Host             // zero: this machine
	targets  []string                  // folders that a bundle's files may go to; nil: allowedTargets
	fault    func(point string) error  // tests: called at every point at which a kill matters
	facts    func(*run) (Facts, error) // tests: another machine than this
	noBoot   bool                      // nothing was found that starts the node at boot
	agent    bool                      // the machine is, or becomes, a node of a cluster that others serve
	setClock func(time.Time) error     // tests: not this machine's clock
	stall    time.Duration             // tests: how long other nodes may give nothing; 0: as long as [peer.FetcherOptions] says
}

// complete fills in what was left empty and checks the rest.
func (o *Options) complete() error {
	if o.Server == nil {
		o.Server = config.NewServer()
	}
	if err := o.Server.Complete(); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	paths := config.PathsOf(o.Server.DataDir)
	switch o.agent = o.Join != nil || isAgent(paths); {
	case o.Join != nil && exists(paths.Server()):
		return fmt.Errorf("%w: %s is the folder of a server: it has a cluster of its own, and cannot join one; airgap uninstall removes it, or choose another --data-dir", ErrUsage, paths.DataDir)
	case o.Join == nil && o.Server.DisableAgent && o.agent:
		return fmt.Errorf("%w: a machine that has joined a cluster is an agent and nothing else", ErrUsage)
	}
	if o.host.FS == nil {
		o.host = hostinfo.This()
	}
	switch o.Init {
	case InitDetect:
		switch o.Init = InitNone; {
		case o.host.Systemd():
			o.Init = InitSystemd
		case o.host.OpenRC():
			o.Init = InitOpenRC
		default:
			o.noBoot = true
		}
	case InitSystemd, InitOpenRC, InitNone:
	default:
		return fmt.Errorf("%w: --init %q: want systemd, openrc or none", ErrUsage, o.Init)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Probation == 0 {
		o.Probation = DefaultProbation
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.EtcDir == "" {
		o.EtcDir = "/etc"
	}
	if o.SystemdDir == "" {
		o.SystemdDir = filepath.Join(o.EtcDir, "systemd", "system")
	}
	if o.BinDir == "" {
		o.BinDir = commandFolder()
	}
	if o.targets == nil {
		o.targets = allowedTargets
	}
	if o.facts == nil {
		o.facts = gatherFacts
	}
	if o.setClock == nil {
		o.setClock = setSystemClock
	}
	if o.fault == nil {
		o.fault = func(string) error { return nil }
	}
	return nil
}
