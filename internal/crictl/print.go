package crictl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"
)

// Formats of output.
const (
	Table = "table"
	JSON  = "json"
	YAML  = "yaml"
)

// shortID is how much of an ID a table has.
const shortID = 13

// table prints rows under a header in columns as wide as crictl's.
func (c *Client) table(header []string, rows [][]string) error {
	w := tabwriter.NewWriter(c.Out, 20, 1, 3, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// lines prints one value a line, for --quiet.
func (c *Client) lines(values []string) error {
	for _, value := range values {
		if _, err := fmt.Fprintln(c.Out, value); err != nil {
			return err
		}
	}
	return nil
}

// message prints a message of the CRI as JSON or YAML.
func (c *Client) message(m proto.Message, format string) error {
	value, err := plain(m)
	if err != nil {
		return err
	}
	return c.value(value, format)
}

// plain turns a message into maps and lists.
func plain(m proto.Message) (any, error) {
	data, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var value any
	return value, json.Unmarshal(data, &value)
}

func (c *Client) value(value any, format string) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return err
	}
	data := out.Bytes()
	switch format {
	case JSON:
	case YAML:
		var err error
		if data, err = yaml.JSONToYAML(data); err != nil {
			return err
		}
	default:
		return fmt.Errorf("output %q is not supported here; want %s or %s", format, JSON, YAML)
	}
	_, err := c.Out.Write(data)
	return err
}

// inspected is a status with the further information that the runtime gives on request.
type inspected struct {
	Status any            `json:"status"`
	Info   map[string]any `json:"info,omitempty"`
}

// withInfo reads the further information, whose values are mostly JSON.
func withInfo(status proto.Message, info map[string]string) (inspected, error) {
	value, err := plain(status)
	if err != nil {
		return inspected{}, err
	}
	readableTimes(value)
	out := inspected{Status: value, Info: map[string]any{}}
	for name, text := range info {
		out.Info[name] = decoded(text)
	}
	return out, nil
}

// decoded is JSON as what it says, other text as it is.
func decoded(text string) any {
	var value any
	if json.Unmarshal([]byte(text), &value) != nil {
		return text
	}
	return value
}

// readableTimes turns nanoseconds since 1970 into RFC 3339.
func readableTimes(value any) {
	fields, ok := value.(map[string]any)
	if !ok {
		return
	}
	for _, name := range []string{"createdAt", "startedAt", "finishedAt"} {
		text, ok := fields[name].(string)
		if n, err := strconv.ParseInt(text, 10, 64); ok && err == nil && n > 0 {
			fields[name] = time.Unix(0, n).UTC().Format(time.RFC3339Nano)
		}
	}
}

// ago is a point of time, in nanoseconds since 1970, as people say it.
func (c *Client) ago(nanoseconds int64) string {
	if nanoseconds == 0 {
		return "unknown"
	}
	return units.HumanDuration(c.now().Sub(time.Unix(0, nanoseconds))) + " ago"
}

// size is a number of bytes as people say it.
func size(bytes uint64) string { return units.HumanSizeWithPrecision(float64(bytes), 3) }

// short is an ID or a digest as a table has it.
func short(id string, whole bool) string {
	id = strings.TrimPrefix(id, "sha256:")
	if whole || len(id) <= shortID {
		return id
	}
	return id[:shortID]
}
