package registryclient

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// listen serves on an address of this machine, and returns where.
func listen(t *testing.T, address string, handler http.HandlerFunc) string {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	return listener.Addr().String()
}

// TestStaysOutside has a registry redirect a client: to itself it may, to another address of the client's network it may not.
func TestStaysOutside(t *testing.T) {
	asked := false
	inside := listen(t, "127.0.0.2:0", func(http.ResponseWriter, *http.Request) { asked = true })
	registry := listen(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/inside":
			http.Redirect(w, r, "http://"+inside+"/secret", http.StatusTemporaryRedirect)
		case "/mapped":
			http.Redirect(w, r, strings.Replace("http://"+inside+"/secret", "127.0.0.2", "[::ffff:127.0.0.2]", 1), http.StatusTemporaryRedirect)
		case "/metadata":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusTemporaryRedirect)
		case "/itself":
			http.Redirect(w, r, "/blob", http.StatusTemporaryRedirect)
		}
	})
	repository, err := name.NewRepository(registry + "/team/app")
	if err != nil {
		t.Fatal(err)
	}
	client, err := New(context.Background(), repository)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/inside": "not a public address", "/mapped": "not a public address", "/metadata": "not a public address",
		"/round": "more than 10 times", "/itself": "",
	} {
		response, err := client.Get("http://" + registry + path)
		if err == nil {
			response.Body.Close()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if asked {
		t.Error("what is inside was asked")
	}
}

func TestExplain(t *testing.T) {
	for code, want := range map[int]string{
		http.StatusNotFound:     "the registry r.example has no such bundle",
		http.StatusUnauthorized: "docker login r.example",
		http.StatusForbidden:    "docker login r.example",
	} {
		err := Explain("r.example", "bundle", &transport.Error{StatusCode: code})
		absent := errors.Is(err, ErrNotFound) && errors.Is(err, fs.ErrNotExist)
		if !strings.Contains(err.Error(), want) || absent != (code == http.StatusNotFound) {
			t.Errorf("%d: %v, want %q", code, err, want)
		}
	}
	if err := Explain("r.example", "image", context.DeadlineExceeded); !strings.Contains(err.Error(), "cannot reach") || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
}
