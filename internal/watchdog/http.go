package watchdog

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
)

// maxAnswerBytes is how much of an answer is read; what it says goes into the log.
const maxAnswerBytes = 512

// HTTP is a proof by an answer to GET url, on loopback: who answers there is not asked, since nothing but the answer
// is wanted. Unless anyStatus is set it must be 200.
func HTTP(url string, anyStatus bool) func(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, // a new connection is part of the proof
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
	}}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
		if err == nil && !anyStatus && answer.StatusCode != http.StatusOK {
			err = errors.New(answer.Status + ": " + string(text))
		}
		return err
	}
}
