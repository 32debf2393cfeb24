package helm

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"

	"airgap/internal/helmchart"
)

// invalid is an error that only a change of the HelmChart can mend.
type invalid struct{ error }

func (e invalid) Unwrap() error { return e.error }

func isInvalid(err error) bool { return errors.As(err, new(invalid)) }

// loadChart returns the chart that a HelmChart names, from its content or over the network.
func (c *Controller) loadChart(ctx context.Context, object *helmchart.Chart) (*chart.Chart, error) {
	archive, err := c.archive(ctx, object)
	if err != nil {
		return nil, err
	}
	loaded, err := loader.LoadArchive(bytes.NewReader(archive))
	if err != nil {
		return nil, invalid{fmt.Errorf("the chart cannot be read: %w", err)}
	}
	if kind := loaded.Metadata.Type; kind != "" && kind != "application" {
		return nil, invalid{fmt.Errorf("chart %s is a %s chart, which cannot be installed", loaded.Name(), kind)}
	}
	if err := action.CheckDependencies(loaded, loaded.Metadata.Dependencies); err != nil {
		return nil, invalid{fmt.Errorf("chart %s: %w (helm dependency build puts them in)", loaded.Name(), err)}
	}
	return loaded, nil
}

func (c *Controller) archive(ctx context.Context, object *helmchart.Chart) ([]byte, error) {
	if object.Spec.ChartContent == "" {
		return c.download(ctx, object)
	}
	content, err := base64.StdEncoding.DecodeString(strings.TrimSpace(object.Spec.ChartContent))
	if err != nil {
		return nil, invalid{fmt.Errorf("spec.chartContent: %w", err)}
	}
	return content, nil
}
