package distribution

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	monolithic = "Pushing a blob monolithically"
	chunked    = "Pushing a blob in chunks"
	mounting   = "Mounting a blob from another repository"
)

var uploadRequirements = []pushRequirement{
	{section: monolithic, text: "POST answers 202 with the place to send the blob to, which is unique", check: func(p pusher) {
		first, second := p.begin(), p.begin()
		if first == second {
			p.Errorf("two uploads at %s", first)
		}
		uuid := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
		if !uuid.MatchString(first) {
			p.Errorf("%s has no UUID", first)
		}
	}},
	{section: monolithic, text: "PUT with the digest answers 201 with a location that can be pulled", check: func(p pusher) {
		data := []byte("post then put")
		response := p.call(http.MethodPut, withDigest(p.begin(), digest.FromBytes(data)), data, http.StatusCreated, "Content-Type", "application/octet-stream")
		p.wantBlob(data, response.Header.Get("Location"))
	}},
	{section: monolithic, text: "a single POST with the digest answers 201, or 202 and an upload begins", check: func(p pusher) {
		data := []byte("a single post")
		response := p.any(http.MethodPost, withDigest("/blobs/uploads/", digest.FromBytes(data)), data, "Content-Type", "application/octet-stream")
		switch response.StatusCode {
		case http.StatusCreated:
		case http.StatusAccepted:
			response = p.call(http.MethodPut, withDigest(response.Header.Get("Location"), digest.FromBytes(data)), data, http.StatusCreated)
		default:
			p.Fatal(response.Status)
		}
		p.wantBlob(data, response.Header.Get("Location"))
	}},
	{section: monolithic, text: "airgap takes a single POST at its word", check: func(p pusher) {
		data := []byte("a single post is enough")
		p.wantBlob(data, p.call(http.MethodPost, withDigest("/blobs/uploads/", digest.FromBytes(data)), data, http.StatusCreated).Header.Get("Location"))
	}, except: map[string]string{"distribution": "answers 202, as it may"}},
	{section: monolithic, text: "a digest that is not the blob's is refused, and the blob is not there", check: func(p pusher) {
		data, other := []byte("these bytes"), digest.FromString("those bytes")
		response := p.any(http.MethodPut, withDigest(p.begin(), other), data)
		p.wantError(response, []int{http.StatusBadRequest}, CodeDigestInvalid)
		p.call(http.MethodHead, "/blobs/"+other.String(), nil, http.StatusNotFound)
		p.call(http.MethodHead, "/blobs/"+digest.FromBytes(data).String(), nil, http.StatusNotFound)
	}},
	{section: monolithic, text: "PUT without a digest, or with one that is none, is refused", check: func(p pusher) {
		p.wantError(p.any(http.MethodPut, p.begin(), []byte("x")), []int{http.StatusBadRequest}, CodeDigestInvalid)
		p.wantError(p.any(http.MethodPut, withDigest(p.begin(), "sha256:short"), []byte("x")), []int{http.StatusBadRequest}, CodeDigestInvalid)
	}},
	{section: monolithic, text: "an empty blob is a blob", check: func(p pusher) {
		p.wantBlob(nil, p.call(http.MethodPut, withDigest(p.begin(), digest.FromString("")), nil, http.StatusCreated).Header.Get("Location"))
	}},
	{section: monolithic, text: "a blob that is there already may be pushed again", check: func(p pusher) {
		p.blob([]byte("twice"))
		p.blob([]byte("twice"))
		p.wantBlob([]byte("twice"), "/blobs/"+digest.FromString("twice").String())
	}},
	{section: chunked, text: "chunks are taken in order and closed by PUT without a body", check: func(p pusher) {
		location := p.chunk(p.begin(), 0, []byte("first "), http.StatusAccepted).Header.Get("Location")
		response := p.chunk(location, 6, []byte("second"), http.StatusAccepted)
		if got := response.Header.Get("Range"); got != "0-11" {
			p.Errorf("after 12 bytes Range is %q", got)
		}
		all := []byte("first second")
		p.wantBlob(all, p.call(http.MethodPut, withDigest(response.Header.Get("Location"), digest.FromBytes(all)), nil, http.StatusCreated).Header.Get("Location"))
	}},
	{section: chunked, text: "the last chunk may come with PUT", check: func(p pusher) {
		location := p.chunk(p.begin(), 0, []byte("first "), http.StatusAccepted).Header.Get("Location")
		all := []byte("first last")
		response := p.call(http.MethodPut, withDigest(location, digest.FromBytes(all)), []byte("last"), http.StatusCreated, "Content-Range", "6-9", "Content-Type", "application/octet-stream")
		p.wantBlob(all, response.Header.Get("Location"))
	}},
	{section: chunked, text: "a body without Content-Range is appended (one PATCH, as docker sends it)", check: func(p pusher) {
		location := p.call(http.MethodPatch, p.begin(), []byte("streamed"), http.StatusAccepted).Header.Get("Location")
		p.wantBlob([]byte("streamed"), p.call(http.MethodPut, withDigest(location, digest.FromString("streamed")), nil, http.StatusCreated).Header.Get("Location"))
	}},
	{section: chunked, text: "a chunk out of order is 416, and the upload goes on", check: func(p pusher) {
		location := p.chunk(p.begin(), 0, []byte("first "), http.StatusAccepted).Header.Get("Location")
		p.chunk(location, 9, []byte("later"), http.StatusRequestedRangeNotSatisfiable)
		p.chunk(location, 0, []byte("first "), http.StatusRequestedRangeNotSatisfiable)
		location = p.call(http.MethodGet, location, nil, http.StatusNoContent).Header.Get("Location")
		location = p.chunk(location, 6, []byte("second"), http.StatusAccepted).Header.Get("Location")
		p.call(http.MethodPut, withDigest(location, digest.FromString("first second")), nil, http.StatusCreated)
	}},
	{section: chunked, text: "a first chunk that does not begin at 0 is 416", check: func(p pusher) {
		p.chunk(p.begin(), 3, []byte("late"), http.StatusRequestedRangeNotSatisfiable)
	}},
	{section: chunked, text: "a Content-Range that is none is refused", check: func(p pusher) {
		for _, text := range []string{"0-", "-5", "a-b", "0-4,5-9"} {
			if got := p.any(http.MethodPatch, p.begin(), []byte("12345"), "Content-Range", text).StatusCode; got != http.StatusBadRequest && got != http.StatusRequestedRangeNotSatisfiable {
				p.Errorf("%q: %d", text, got)
			}
		}
	}, except: map[string]string{"distribution": "answers 500"}},
	{section: chunked, text: "a Content-Range that is not as long as the body is refused", check: func(p pusher) {
		if got := p.any(http.MethodPatch, p.begin(), []byte("12345"), "Content-Range", "0-99").StatusCode; got != http.StatusBadRequest && got != http.StatusRequestedRangeNotSatisfiable {
			p.Error(got)
		}
	}},
	{section: chunked, text: "GET of an upload is 204 with how far it got", check: func(p pusher) {
		location := p.chunk(p.begin(), 0, []byte("0123456789"), http.StatusAccepted).Header.Get("Location")
		response := p.call(http.MethodGet, location, nil, http.StatusNoContent)
		if response.Header.Get("Range") != "0-9" || response.Header.Get("Location") == "" {
			p.Errorf("%v", response.Header)
		}
	}},
	{section: chunked, text: "a digest that is not that of all chunks is refused", check: func(p pusher) {
		location := p.chunk(p.begin(), 0, []byte("0123456789"), http.StatusAccepted).Header.Get("Location")
		p.wantError(p.any(http.MethodPut, withDigest(location, digest.FromString("56789")), nil), []int{http.StatusBadRequest}, CodeDigestInvalid)
	}},
	{section: chunked, text: "a cancelled upload (DELETE, 204) is gone", check: func(p pusher) {
		location := p.chunk(p.begin(), 0, []byte("never mind"), http.StatusAccepted).Header.Get("Location")
		p.call(http.MethodDelete, location, nil, http.StatusNoContent)
		p.call(http.MethodGet, location, nil, http.StatusNotFound)
	}},
	{section: chunked, text: "an upload that has ended, or never was, is 404", check: func(p pusher) {
		location := p.begin()
		p.call(http.MethodPut, withDigest(location, digest.FromString("x")), []byte("x"), http.StatusCreated)
		p.wantError(p.any(http.MethodPatch, location, []byte("y")), []int{http.StatusNotFound}, CodeBlobUploadUnknown)
	}},
	{section: mounting, text: "a blob of another repository is mounted with 201", check: func(p pusher) {
		other := p
		other.repository += "/other"
		data := []byte("mounted from " + p.repository)
		d := other.blob(data).Digest
		p.call(http.MethodHead, "/blobs/"+d.String(), nil, http.StatusNotFound)
		response := p.call(http.MethodPost, "/blobs/uploads/?mount="+d.String()+"&from="+other.repository, nil, http.StatusCreated)
		p.wantBlob(data, response.Header.Get("Location"))
	}},
	{section: mounting, text: "what cannot be mounted is an upload that begins, 202", check: func(p pusher) {
		data := []byte("not there to mount")
		path := "/blobs/uploads/?mount=" + digest.FromBytes(data).String()
		for _, from := range []string{"&from=" + p.repository + "/nobody", ""} {
			location := p.call(http.MethodPost, path+from, nil, http.StatusAccepted).Header.Get("Location")
			p.call(http.MethodPut, withDigest(location, digest.FromBytes(data)), data, http.StatusCreated)
		}
	}},
	{section: "Pulling blobs", text: "ranges of a pushed blob are served", check: func(p pusher) {
		desc := p.blob([]byte("0123456789"))
		response := p.call(http.MethodGet, "/blobs/"+desc.Digest.String(), nil, http.StatusPartialContent, "Range", "bytes=4-6")
		if got := bodyOf(p.T, response); got != "456" {
			p.Errorf("got %q", got)
		}
	}},
	{section: "Pushing blobs", text: "a name outside of the grammar is refused", check: func(p pusher) {
		for _, name := range []string{"UPPER/case", "a//b", "a/-b", strings.Repeat("n", 300)} {
			if got := p.any(http.MethodPost, "/v2/"+name+"/blobs/uploads/", nil).StatusCode; got < 300 || got > 499 {
				p.Errorf("%s: %d", name, got)
			}
		}
	}, except: map[string]string{"distribution": "takes upper case, and answers 500 to a name that is too long"}},
}
