package renewal

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"airgap/internal/atomicfile"
	"airgap/internal/site"
)

const (
	// Interval is between two looks, and retryInterval until the next if a server could not be asked.
	Interval      = 10 * time.Minute
	retryInterval = time.Minute
	// lifeFraction of a certificate's life is left when it is renewed, and backdate is how long before its making it
	// begins: as node/pki has them.
	lifeFraction = 3
	backdate     = 24 * time.Hour
)

var (
	// ErrDeleted is the refusal of a node that the cluster no longer knows.
	ErrDeleted = errors.New("this node was deleted from the cluster")
	// ErrAuthorities says that the authorities are new ones, and so all certificates: what was started with the old ones must
	// start again.
	ErrAuthorities = errors.New("the cluster's authorities have changed")
)

// Keeper renews the credentials in one folder.
type Keeper struct {
	Dir       string       // as [site.Credentials.Save] writes it
	Server    string       // "https://address:port"
	Addresses []netip.Addr // of the node
	Now       func() time.Time
}

// Keep looks at each interval until ctx is done or the authorities have changed. report is told of each failure, and of nil
// when all is well.
func (k *Keeper) Keep(ctx context.Context, report func(error)) error {
	for {
		err := k.Look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		report(err)
		wait := Interval
		switch {
		case errors.Is(err, ErrAuthorities):
			return err
		case err != nil:
			wait = retryInterval
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Look asks a server whether the authorities are still the same, and for what is due.
func (k *Keeper) Look(ctx context.Context) error {
	authorities, err := os.ReadFile(k.path(site.FileAuthorities))
	if err != nil {
		return err
	}
	client, err := k.client(authorities)
	if err != nil {
		return err
	}
	defer client.Close()
	due, err := k.due()
	if err != nil {
		return err
	}
	issued, err := k.renew(ctx, client, due)
	if err != nil {
		return err
	}
	if issued.Authorities == string(authorities) {
		return k.save(due, issued)
	}
	all, err := k.keys()
	if err != nil {
		return err
	}
	if issued, err = k.renew(ctx, client, all); err != nil {
		return err
	}
	if err := atomicfile.Write(k.path(site.FileAuthorities), []byte(issued.Authorities), 0o644); err != nil {
		return err
	}
	return errors.Join(ErrAuthorities, k.save(all, issued))
}

// client shows the kubelet's certificate.
func (k *Keeper) client(authorities []byte) (*site.Client, error) {
	file := k.path(site.FileKubelet)
	certificate := site.CertificateFiles(file, file)
	pair, err := certificate()
	if err != nil {
		return nil, fmt.Errorf("the node's certificate: %w; join again", err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if k.now().After(leaf.NotAfter) {
		return nil, fmt.Errorf("the node's certificate has ended on %s, and nothing vouches for it any more: join again (or set this machine's clock)",
			leaf.NotAfter.Format(time.DateOnly))
	}
	return site.NewClient(k.Server, authorities, certificate)
}

// renew asks for certificates for keys.
func (k *Keeper) renew(ctx context.Context, client *site.Client, keys site.Keys) (*site.Issued, error) {
	password, err := site.LoadPassword(k.Dir)
	if err != nil {
		return nil, err
	}
	request := site.RenewRequest{Password: password}
	for _, address := range k.Addresses {
		request.Addresses = append(request.Addresses, address.String())
	}
	if request.PublicKeys, err = keys.Public(); err != nil {
		return nil, err
	}
	renewed, err := client.Renew(ctx, request)
	var refusal *site.Error
	if errors.As(err, &refusal) && refusal.Code == site.CodeName {
		return nil, fmt.Errorf("%w: %s", ErrDeleted, refusal.Message)
	}
	if err != nil {
		return nil, fmt.Errorf("renew certificates: %w", err)
	}
	return &renewed.Issued, renewed.Check(keys)
}

func (k *Keeper) path(name string) string { return filepath.Join(k.Dir, name) }

func (k *Keeper) now() time.Time {
	if k.Now == nil {
		return time.Now()
	}
	return k.Now()
}
