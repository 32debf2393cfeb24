//go:build !desk

package main

import (
	"airgap/installer"
	"airgap/node/config"
	"airgap/node/pki"
)

func init() {
	listCertificates = func(e *env, p config.Paths, kubeconfig string) ([]installer.CertificateStatus, error) {
		list, err := pki.Issuer{Now: e.now}.List(p, kubeconfig)
		if err != nil {
			return nil, err
		}
		statuses := []installer.CertificateStatus{}
		for _, c := range list {
			statuses = append(statuses, installer.CertificateStatus{
				Service: c.Service, File: c.File, NotAfter: c.NotAfter, DaysLeft: c.DaysLeft, Status: c.Status,
			})
		}
		return statuses, nil
	}
}

// The two packages do not know each other: this fails to compile when their words for it differ.
var _ = map[bool]struct{}{false: {}, installer.CertificateGood == pki.StateGood: {}}
