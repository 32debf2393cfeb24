package pki

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
)

// A server left alone far past the end of its certificates goes on: what Keep writes is taken over by the
// API server's own listener and authenticator, and by client-go. The certificates live for seconds here, and
// client-go looks for new ones all the time instead of every five minutes.
func TestLeftAlone(t *testing.T) {
	const validity = 10 * time.Second // a third of it is for renewing, also on a busy machine
	defer func(d time.Duration) { transport.CertCallbackRefreshDuration = d }(transport.CertCallbackRefreshDuration)
	transport.CertCallbackRefreshDuration = validity / 16

	cfg, paths := newServer(t)
	i := Issuer{Validity: validity}
	if err := i.Prepare(cfg); err != nil {
		t.Fatal(err)
	}
	address := serveLikeAPIServer(t, folder(paths.TLS()))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var failed atomic.Pointer[error]
	go i.Keep(ctx, cfg, validity/8, func(err error) { failed.Store(&err) })

	client, err := clientcmd.BuildConfigFromFlags("", SupervisorConfig(paths))
	if err != nil {
		t.Fatal(err)
	}
	follows, err := rest.HTTPClientFor(client)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var answers int
	for time.Since(began) < 2*validity {
		response, err := follows.Get("https://" + address)
		if err != nil { // client-go closes its connections when it takes over a certificate; a client tries again
			response, err = follows.Get("https://" + address)
		}
		if err != nil {
			t.Fatalf("after %s: %v", time.Since(began), err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("after %s: %s", time.Since(began), response.Status)
		}
		answers++
		time.Sleep(50 * time.Millisecond)
	}
	if err := failed.Load(); err != nil {
		t.Error(*err)
	}
	// The same without anybody who renews: then certificates of this length do end.
	cancel()
	time.Sleep(validity + time.Second)
	if response, err := follows.Get("https://" + address); err == nil {
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			t.Errorf("after %d answers nobody renews, and the certificates still hold: this test shows nothing", answers)
		}
	}
}

// serveLikeAPIServer listens with the API server's own parts: certificate and authorities follow
// their files, and every request must show a certificate that is good when it is made.
func serveLikeAPIServer(t *testing.T, f folder) (address string) {
	t.Helper()
	serving, err := dynamiccertificates.NewDynamicServingContentFromFiles("serving", f.cert(APIServer), f.key(APIServer))
	if err != nil {
		t.Fatal(err)
	}
	authorities, err := dynamiccertificates.NewDynamicCAContentFromFile("clients", f.cert(ClusterCABundle))
	if err != nil {
		t.Fatal(err)
	}
	base := &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
	controller := dynamiccertificates.NewDynamicServingCertificateController(base, authorities, serving, nil, nil)
	serving.AddListener(controller)
	authorities.AddListener(controller)
	if err := controller.RunOnce(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	go serving.Run(ctx, 1)
	go authorities.Run(ctx, 1)
	go controller.Run(1, ctx.Done())

	base.GetConfigForClient = controller.GetConfigForClient
	listener, err := tls.Listen("tcp", "127.0.0.1:0", base)
	if err != nil {
		t.Fatal(err)
	}
	authenticator := x509.NewDynamic(authorities.VerifyOptions, x509.CommonNameUserConversion)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok, err := authenticator.AuthenticateRequest(r)
		if err != nil || !ok {
			http.Error(w, fmt.Sprint(err), http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, who.User.GetName())
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}
