package addons

import "fmt"

// MetricsServer returns the manifest of metrics-server, in kube-system, with the names that upstream and K3s
// give its objects. The same image gives the same bytes.
func MetricsServer(image string) ([]byte, error) {
	if image == "" {
		return nil, fmt.Errorf("manifest of metrics-server: no image")
	}
	return fill("metrics-server.yaml", struct{ Image string }{image})
}
