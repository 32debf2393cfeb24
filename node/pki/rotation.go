package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"airgap/internal/atomicfile"
	"airgap/internal/journal"
	"airgap/node/config"
)

// Stage is how far a rotation of the authorities has come.
type Stage string

// The stages, in their order. In each the cluster works, whatever stage its clients have seen, as
// long as they are not more than one behind.
const (
	StageNone    Stage = ""        // no rotation is under way
	StageTrust   Stage = "trust"   // the old authorities sign; the old and the new are trusted
	StageReissue Stage = "reissue" // the new authorities sign; the new and the old are trusted
	StageFinish  Stage = "finish"  // the new alone are trusted; then the rotation is over
)

// rotationDir holds new/ and old/, each with the authorities' files, and the journal of stages. It
// appears whole, by a rename.
func rotationDir(paths config.Paths) string { return filepath.Join(paths.TLS(), "rotation") }

// RotationStage returns the stage of the rotation under way.
func RotationStage(paths config.Paths) (Stage, error) {
	records, err := journal.Read(filepath.Join(rotationDir(paths), "journal"))
	if err != nil || len(records) == 0 {
		return StageNone, err
	}
	return Stage(records[len(records)-1].Kind), nil
}

// AuthorityError is a new authority that cannot take the place of the old.
type AuthorityError struct {
	File      string
	Reason    string
	Forceable bool // a rotation may be started all the same
}

func (e *AuthorityError) Error() string { return e.File + ": " + e.Reason }

// StartRotation takes the new authorities, ca.{crt,key} and front-proxy-ca.{crt,key}, from the folder source,
// or makes them if source is empty, and begins to trust them beside the old ones. An authority that the old
// one has not signed is refused with an [*AuthorityError] unless force is set: who knows the old one alone cannot tell that the new is good.
func (i Issuer) StartRotation(paths config.Paths, source string, force bool) error {
	unlock, err := lock(paths)
	if err != nil {
		return err
	}
	defer unlock()
	if stage, err := RotationStage(paths); err != nil || stage != StageNone {
		return errors.Join(err, fmt.Errorf("a rotation of the authorities is under way, in stage %q", stage))
	}
	tls := folder(paths.TLS())
	building := rotationDir(paths) + ".new"
	if err := os.RemoveAll(building); err != nil {
		return err
	}
	fresh, old := folder(filepath.Join(building, "new")), folder(filepath.Join(building, "old"))
	for _, dir := range []folder{fresh, old} {
		if err := os.MkdirAll(string(dir), 0o700); err != nil {
			return err
		}
	}
	for name, commonName := range authorities {
		if source == "" {
			cert, key, err := i.newAuthority(fmt.Sprintf("%s@%d", commonName, i.now().Unix()))
			if err != nil {
				return err
			}
			if err := fresh.save(name, cert, key); err != nil {
				return err
			}
		} else if err := i.adopt(tls, folder(source), fresh, name, force); err != nil {
			return err
		}
		if err := copyPair(tls, old, name); err != nil {
			return err
		}
	}
	record, _, err := journal.Open(filepath.Join(building, "journal"))
	if err != nil {
		return err
	}
	if err := errors.Join(record.Append(string(StageTrust), nil), record.Close()); err != nil {
		return err
	}
	if err := os.Rename(building, rotationDir(paths)); err != nil {
		return err
	}
	if err := atomicfile.SyncDir(paths.TLS()); err != nil {
		return err
	}
	return applyRotation(paths)
}

// AdvanceRotation goes on to the next stage, and returns it.
func AdvanceRotation(paths config.Paths) (Stage, error) {
	unlock, err := lock(paths)
	if err != nil {
		return StageNone, err
	}
	defer unlock()
	stage, err := RotationStage(paths)
	if err != nil {
		return stage, err
	}
	next, ok := map[Stage]Stage{StageTrust: StageReissue, StageReissue: StageFinish, StageFinish: StageFinish}[stage]
	if !ok {
		return stage, errors.New("no rotation of the authorities is under way")
	}
	record, _, err := journal.Open(filepath.Join(rotationDir(paths), "journal"))
	if err != nil {
		return stage, err
	}
	if err := errors.Join(record.Append(string(next), nil), record.Close()); err != nil {
		return stage, err
	}
	return next, applyRotation(paths)
}

// applyRotation brings the authorities and the bundles to what the stage says. It may be
// repeated, and is at every start, for a power cut may have come between two files.
func applyRotation(paths config.Paths) error {
	if err := resumeRotation(paths); err != nil {
		return err
	}
	for name := range authorities {
		if err := writeBundle(paths, name); err != nil {
			return err
		}
	}
	return nil
}

func resumeRotation(paths config.Paths) error {
	if err := os.RemoveAll(rotationDir(paths) + ".new"); err != nil { // it never began
		return err
	}
	stage, err := RotationStage(paths)
	if err != nil || stage == StageNone || stage == StageTrust {
		return err
	}
	for name := range authorities {
		if err := copyPair(folder(filepath.Join(rotationDir(paths), "new")), folder(paths.TLS()), name); err != nil {
			return err
		}
	}
	if stage == StageFinish {
		// Away at once, then removed: half a folder would still be trusted.
		if err := os.Rename(rotationDir(paths), rotationDir(paths)+".new"); err != nil {
			return err
		}
		if err := atomicfile.SyncDir(paths.TLS()); err != nil {
			return err
		}
		return os.RemoveAll(rotationDir(paths) + ".new")
	}
	return nil
}

// writeBundle writes what is trusted for the authority of that name: itself, and while a rotation is under way
// the other one too.
func writeBundle(paths config.Paths, name string) error {
	bundle, err := os.ReadFile(folder(paths.TLS()).cert(name))
	if err != nil {
		return err
	}
	for _, side := range []string{"new", "old"} {
		other, err := os.ReadFile(folder(filepath.Join(rotationDir(paths), side)).cert(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !bytes.Contains(bundle, bytes.TrimSpace(other)) {
			bundle = append(append(bytes.TrimSpace(bundle), '\n'), other...)
		}
	}
	return writeChanged(folder(paths.TLS()).cert(name+"-bundle"), bundle, 0o644)
}

// adopt checks a new authority that somebody made, and copies it.
func (i Issuer) adopt(tls, source, into folder, name string, force bool) error {
	certs, err := certutil.CertsFromFile(source.cert(name))
	if err != nil {
		return &AuthorityError{File: source.cert(name), Reason: err.Error()}
	}
	key, err := keyutil.PrivateKeyFromFile(source.key(name))
	if err != nil {
		return &AuthorityError{File: source.key(name), Reason: "the server signs certificates and needs the authority's key: " + err.Error()}
	}
	signer, ok := key.(crypto.Signer)
	if !ok || !isKeyOf(signer, certs[0]) {
		return &AuthorityError{File: source.key(name), Reason: errNotItsKey.Error()}
	}
	now := i.now()
	if !certs[0].IsCA || now.Before(certs[0].NotBefore) || now.After(certs[0].NotAfter) {
		return &AuthorityError{File: source.cert(name), Reason: "is no certificate authority that is good today"}
	}
	old, err := certutil.CertsFromFile(tls.cert(name))
	if err != nil {
		return err
	}
	if !chains(certs, old) && !force {
		return &AuthorityError{
			File: source.cert(name), Forceable: true,
			Reason: fmt.Sprintf("is not signed by the present authority %q, so who trusts that one alone will not trust it", old[0].Subject.CommonName),
		}
	}
	return copyPair(source, into, name)
}

// chains says whether the first of certs can be verified from old, by way of the others of both.
func chains(certs, old []*x509.Certificate) bool {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, cert := range old {
		roots.AddCert(cert)
	}
	for _, cert := range certs[1:] {
		between.AddCert(cert)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

// copyPair copies a certificate and its key, the key first.
func copyPair(from, to folder, name string) error {
	for _, file := range []struct {
		from, to string
		mode     fs.FileMode
	}{{from.key(name), to.key(name), 0o600}, {from.cert(name), to.cert(name), 0o644}} {
		data, err := os.ReadFile(file.from)
		if err != nil {
			return err
		}
		if err := writeChanged(file.to, data, file.mode); err != nil {
			return err
		}
	}
	return nil
}
