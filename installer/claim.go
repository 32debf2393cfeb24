package installer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"airgap/node/config"
)

// claimant is the data folder of the node whose network is in this process's namespace; empty if none is.
func claimant() (string, error) {
	namespace, err := config.NetworkNamespace()
	if err != nil {
		return "", err
	}
	return config.NetworkClaimant(config.NetworkClaims, namespace)
}

// otherClaimant is [claimant], if it is not the node with dataDir and runs.
func otherClaimant(dataDir string) (string, error) {
	namespace, err := config.NetworkNamespace()
	if err != nil {
		return "", err
	}
	owner, err := config.NetworkClaimant(config.NetworkClaims, namespace)
	if err != nil || owner == dataDir || owner == "" {
		return "", err
	}
	held, err := isHeld(filepath.Join(config.NetworkClaims, strconv.FormatUint(namespace, 10)))
	if !held {
		owner = ""
	}
	return owner, err
}

// checkNamespace refuses to remove a node whose network is in another namespace than this process: its
// interfaces and rules would stay.
func checkNamespace(dataDir string) error {
	own, err := config.NetworkNamespace()
	if err != nil {
		return err
	}
	files, err := claimsOf(dataDir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if filepath.Base(file) == strconv.FormatUint(own, 10) {
			return nil
		}
	}
	for _, file := range files {
		if held, err := isHeld(file); held || err != nil {
			return errors.Join(err, fmt.Errorf("the node's network is in another network namespace, net:[%s]: run this there (nsenter --net=… airgap uninstall)", filepath.Base(file)))
		}
	}
	return nil
}

// claimsOf lists the files by which a node claims, or has claimed, network namespaces.
func claimsOf(dataDir string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(config.NetworkClaims, "*"))
	if err != nil {
		return nil, err
	}
	var own []string
	for _, file := range all {
		if owner, err := os.ReadFile(file); err == nil && string(owner) == dataDir {
			own = append(own, file)
		}
	}
	return own, nil
}

// isHeld says whether a running node holds the claim.
func isHeld(file string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// removeClaims removes a node's claims, and their folder if it was the last node.
func removeClaims(dataDir string) error {
	files, err := claimsOf(dataDir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := removeIfThere(file); err != nil {
			return err
		}
	}
	_ = os.Remove(config.NetworkClaims) // if nothing else is in it
	return nil
}
