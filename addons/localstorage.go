package addons

import (
	"fmt"
	"path/filepath"
)

// LocalStorageOptions is what the manifest of local volumes depends on.
type LocalStorageOptions struct {
	Image       string // of the provisioner
	HelperImage string // of the pods that make and remove folders; needs a shell
	Path        string // folder of the volumes on every node; absolute and clean
}

// LocalStorage returns the manifest of volumes in folders of the node: the provisioner in kube-system and the
// default StorageClass local-path, with the names that K3s gives the objects. The same
// options give the same bytes.
func LocalStorage(o LocalStorageOptions) ([]byte, error) {
	switch {
	case o.Image == "" || o.HelperImage == "":
		return nil, fmt.Errorf("manifest of local-storage: no image")
	case !filepath.IsAbs(o.Path) || filepath.Clean(o.Path) != o.Path || o.Path == "/":
		return nil, fmt.Errorf("manifest of local-storage: %q is not the absolute path of a folder", o.Path)
	}
	return fill("local-storage.yaml", o)
}
