package distribution

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// Codes of errors, from the specification's table "Error Codes"; CodeUnavailable is what registries in use add for
// their own failures.
const (
	CodeBlobUnknown         = "BLOB_UNKNOWN"
	CodeBlobUploadInvalid   = "BLOB_UPLOAD_INVALID"
	CodeBlobUploadUnknown   = "BLOB_UPLOAD_UNKNOWN"
	CodeDenied              = "DENIED"
	CodeDigestInvalid       = "DIGEST_INVALID"
	CodeManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
	CodeManifestInvalid     = "MANIFEST_INVALID"
	CodeManifestUnknown     = "MANIFEST_UNKNOWN"
	CodeNameInvalid         = "NAME_INVALID"
	CodeNameUnknown         = "NAME_UNKNOWN"
	CodeSizeInvalid         = "SIZE_INVALID"
	CodeTooManyRequests     = "TOOMANYREQUESTS"
	CodeUnauthorized        = "UNAUTHORIZED"
	CodeUnavailable         = "UNAVAILABLE"
	CodeUnsupported         = "UNSUPPORTED"
)

// Error is an answer that is not what was asked for.
type Error struct {
	Status  int // of HTTP
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Message }

func newError(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func isNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// errorBody is the JSON of the specification's section "Error Codes".
type errorBody struct {
	Errors []errorEntry `json:"errors"`
}

type errorEntry struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// WriteError answers with err: an [*Error] as it says, anything else as a failure of this node.
func WriteError(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = newError(http.StatusInternalServerError, CodeUnavailable, "%v", err)
	}
	body, err := json.Marshal(errorBody{[]errorEntry{{e.Code, e.Message}}})
	if err != nil { // two strings always marshal
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	switch e.Status {
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, HEAD")
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Basic realm="airgap"`)
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(body) // the client has gone
}
