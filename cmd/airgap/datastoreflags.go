package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/pflag"

	"airgap/node/config"
)

// addDatastoreFlags binds K3s' flags of the datastore.
func addDatastoreFlags(fs *pflag.FlagSet, s *config.Server) {
	fs.StringVar(&s.DatastoreEndpoint, flagEndpoint, s.DatastoreEndpoint,
		"`URL` of a PostgreSQL, MySQL or etcd that keeps the cluster's state (default: SQLite under the data folder); one with a password belongs in the configuration file or in $"+endpointVariable)
	fs.StringVar(&s.DatastoreCAFile, "datastore-cafile", s.DatastoreCAFile, "PEM `file` of the authority of the datastore's certificate")
	fs.StringVar(&s.DatastoreCertFile, "datastore-certfile", s.DatastoreCertFile, "PEM `file` of the certificate to show to the datastore")
	fs.StringVar(&s.DatastoreKeyFile, "datastore-keyfile", s.DatastoreKeyFile, "PEM `file` of its key")
}

const (
	flagEndpoint     = "datastore-endpoint"
	endpointVariable = "AIRGAP_DATASTORE_ENDPOINT"
)

// checkCommandLine refuses a password on the command line, which every user of the machine can read.
func checkCommandLine(flags *pflag.FlagSet) error {
	if flag := flags.Lookup(flagEndpoint); flag.Changed && hasPassword(flag.Value.String()) {
		return errors.New("--" + flagEndpoint + " holds a password, and every user of this machine can read the command line; put it into the configuration file (mode 0600) or into $" + endpointVariable)
	}
	return nil
}

// checkPrivate refuses a configuration file, or one of its drop-ins, that holds the datastore's password and that others can read.
func checkPrivate(file string) error {
	files, err := configFiles(file)
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range files {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().Perm()&0o077 == 0 {
			continue
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(data, []byte(flagEndpoint)) {
			errs = append(errs, fmt.Errorf("%s holds the datastore's password and has mode %04o; `chmod 600 %[1]s`", path, info.Mode().Perm()))
		}
	}
	return errors.Join(errs...)
}

func hasPassword(endpoint string) bool {
	store, _ := config.ParseDatastore(endpoint, config.DatastoreFiles{})
	return store.HasPassword()
}
