package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"airgap/bundle"
)

// statementFlags say which statement of a bundle to print.
type statementFlags struct {
	sbom, provenance, envelope, manifest bool
}

func (s *statementFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.sbom, "sbom", false, "print the SBOM (SPDX 2.3, JSON) and nothing else")
	cmd.Flags().BoolVar(&s.provenance, "provenance", false, "print the provenance (SLSA v1, JSON) and nothing else")
	cmd.Flags().BoolVar(&s.envelope, "envelope", false, "with --sbom or --provenance: print the in-toto statement in its signed DSSE envelope")
	cmd.Flags().BoolVar(&s.manifest, "manifest", false, "print airgap.json, the bytes that signatures are over, and nothing else")
	cmd.MarkFlagsMutuallyExclusive("sbom", "provenance", "manifest")
}

// wanted is the predicate type of the statement to print, "" for none.
func (s *statementFlags) wanted() string {
	switch {
	case s.sbom:
		return bundle.SBOMType
	case s.provenance:
		return bundle.ProvenanceType
	}
	return ""
}

// printStatement reads a bundle up to the statement and prints it. The reader has checked it then.
func (e *env) printStatement(reader *bundle.Reader, flags statementFlags) error {
	m := reader.Manifest()
	at := slices.IndexFunc(m.Attestations, func(a bundle.Attestation) bool { return a.PredicateType == flags.wanted() })
	if at < 0 {
		return withHint(fmt.Errorf("the bundle carries no %s", flags.wanted()), "build it with --sbom, or --provenance")
	}
	for {
		entry, contents, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the statement %s did not come", m.Attestations[at].Digest)
		}
		if err != nil {
			return err
		}
		if entry.Digest() != m.Attestations[at].Digest {
			continue
		}
		data, err := io.ReadAll(contents)
		if err != nil {
			return err
		}
		if !flags.envelope {
			statement, _, err := bundle.ReadStatement(data)
			if err != nil {
				return err
			}
			data = statement.Predicate
		}
		_, err = fmt.Fprintf(e.stdout, "%s\n", data)
		return err
	}
}
