package distribution

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	manifests   = "Pushing Manifests"
	withSubject = "Pushing Manifests with Subject"
)

var noSubject = map[string]string{"distribution": "version 3 knows no subject: no OCI-Subject, no referrers"}

var manifestRequirements = []pushRequirement{
	{section: manifests, text: "PUT by tag answers 201 with a location that can be pulled, and keeps the bytes", check: func(p pusher) {
		data := p.manifest("tag", nil)
		response := p.put("1.0", data, http.StatusCreated)
		for _, path := range []string{response.Header.Get("Location"), "/manifests/1.0", "/manifests/" + digest.FromBytes(data).String()} {
			got := p.call(http.MethodGet, path, nil, http.StatusOK, "Accept", ocispec.MediaTypeImageManifest)
			if bodyOf(p.T, got) != string(data) || got.Header.Get("Content-Type") != ocispec.MediaTypeImageManifest {
				p.Errorf("%s: other bytes, or %q", path, got.Header.Get("Content-Type"))
			}
		}
	}},
	{section: manifests, text: "PUT by digest answers 201", check: func(p pusher) {
		data := p.manifest("digest", nil)
		d := digest.FromBytes(data).String()
		if got := p.put(d, data, http.StatusCreated).Header.Get("Docker-Content-Digest"); got != d {
			p.Errorf("Docker-Content-Digest is %q", got)
		}
		p.call(http.MethodHead, "/manifests/"+d, nil, http.StatusOK, "Accept", ocispec.MediaTypeImageManifest)
	}},
	{section: manifests, text: "a digest that is not the manifest's is refused", check: func(p pusher) {
		p.wantError(p.any(http.MethodPut, "/manifests/"+absent, p.manifest("x", nil), "Content-Type", ocispec.MediaTypeImageManifest),
			[]int{http.StatusBadRequest}, CodeDigestInvalid)
		p.call(http.MethodHead, "/manifests/"+absent, nil, http.StatusNotFound)
	}},
	{section: manifests, text: "a tag that is pushed again names the new manifest", check: func(p pusher) {
		p.put("latest", p.manifest("old", nil), http.StatusCreated)
		data := p.manifest("new", nil)
		p.put("latest", data, http.StatusCreated)
		if got := bodyOf(p.T, p.call(http.MethodGet, "/manifests/latest", nil, http.StatusOK, "Accept", ocispec.MediaTypeImageManifest)); got != string(data) {
			p.Error("the tag still names the old one")
		}
	}},
	{section: manifests, text: "a manifest whose blobs were not pushed is refused", check: func(p pusher) {
		data := p.manifest("unknown", func(m *ocispec.Manifest) {
			m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.Digest(absent), Size: 9})
		})
		p.wantError(p.any(http.MethodPut, "/manifests/1", data, "Content-Type", ocispec.MediaTypeImageManifest),
			[]int{http.StatusNotFound, http.StatusBadRequest}, CodeBlobUnknown, CodeManifestBlobUnknown)
		p.call(http.MethodHead, "/manifests/1", nil, http.StatusNotFound)
	}},
	{section: manifests, text: "blobs of another repository do not count", check: func(p pusher) {
		other := p
		other.repository += "/other"
		p.wantError(p.any(http.MethodPut, "/manifests/1", other.manifest("elsewhere "+p.repository, nil), "Content-Type", ocispec.MediaTypeImageManifest),
			[]int{http.StatusNotFound, http.StatusBadRequest}, CodeBlobUnknown, CodeManifestBlobUnknown)
	}},
	{section: manifests, text: "what is no manifest is refused", check: func(p pusher) {
		for _, data := range []string{"", "{", "[]", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`} {
			p.wantError(p.any(http.MethodPut, "/manifests/1", []byte(data), "Content-Type", ocispec.MediaTypeImageManifest),
				[]int{http.StatusBadRequest}, CodeManifestInvalid)
		}
	}},
	{section: manifests, text: "a media type that is not known is refused, or kept as it is", check: func(p pusher) {
		if got := p.any(http.MethodPut, "/manifests/1", []byte(`{"schemaVersion":2}`), "Content-Type", "application/x-tar").StatusCode; got < 400 || got > 499 {
			p.Error(got)
		}
	}},
	{section: manifests, text: "a manifest may have no layers", check: func(p pusher) {
		p.put("artifact", p.manifest("artifact", func(m *ocispec.Manifest) {
			m.ArtifactType, m.Layers = "application/vnd.example", []ocispec.Descriptor{}
		}), http.StatusCreated)
	}},
	{section: manifests, text: "an index is pushed after its manifests", check: func(p pusher) {
		data := p.manifest("of an index", nil)
		child := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data))}
		index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{child}})
		if err != nil {
			p.Fatal(err)
		}
		early := p.any(http.MethodPut, "/manifests/1", index, "Content-Type", ocispec.MediaTypeImageIndex)
		p.wantError(early, []int{http.StatusNotFound, http.StatusBadRequest}, CodeBlobUnknown, CodeManifestBlobUnknown, CodeManifestUnknown)
		p.put(child.Digest.String(), data, http.StatusCreated)
		p.call(http.MethodPut, "/manifests/1", index, http.StatusCreated, "Content-Type", ocispec.MediaTypeImageIndex)
		p.call(http.MethodGet, "/manifests/1", nil, http.StatusOK, "Accept", ocispec.MediaTypeImageIndex)
	}},
	{section: manifests, text: "4 MiB are taken, more are refused with 413", check: func(p pusher) {
		pad := func(size int) []byte {
			data := p.manifest("large", func(m *ocispec.Manifest) { m.Annotations = map[string]string{"pad": ""} })
			return []byte(strings.Replace(string(data), `"pad":""`, `"pad":"`+strings.Repeat("x", size-len(data))+`"`, 1))
		}
		p.put("large", pad(MaxManifestBytes), http.StatusCreated)
		p.put("larger", pad(MaxManifestBytes+1), http.StatusRequestEntityTooLarge)
	}, except: map[string]string{"distribution": "answers 400, with a message about a read limit"}},
	{section: manifests, text: "a tag outside of the grammar is refused", check: func(p pusher) {
		data := p.manifest("tag grammar", nil)
		for _, tag := range []string{"-x", ".x", strings.Repeat("t", 129)} {
			if got := p.any(http.MethodPut, "/manifests/"+tag, data, "Content-Type", ocispec.MediaTypeImageManifest).StatusCode; got < 400 || got > 499 {
				p.Errorf("%s: %d", tag, got)
			}
		}
	}},
	{section: withSubject, text: "the answer has OCI-Subject, whether the subject is there or not", check: func(p pusher) {
		subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(absent), Size: 5}
		data := p.manifest("refers", func(m *ocispec.Manifest) { m.ArtifactType, m.Subject = "application/vnd.example.sbom", &subject })
		if got := p.put(digest.FromBytes(data).String(), data, http.StatusCreated).Header.Get("OCI-Subject"); got != absent {
			p.Errorf("OCI-Subject is %q", got)
		}
	}, except: noSubject},
	{section: withSubject, text: "it is listed among the subject's referrers", check: func(p pusher) {
		image := p.manifest("subject", nil)
		subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(image), Size: int64(len(image))}
		p.put("1", image, http.StatusCreated)
		data := p.manifest("sbom", func(m *ocispec.Manifest) {
			m.ArtifactType, m.Subject, m.Annotations = "application/vnd.example.sbom", &subject, map[string]string{"a": "b"}
		})
		p.put(digest.FromBytes(data).String(), data, http.StatusCreated)
		list := referrersOf(client{T: p.T}, p.call(http.MethodGet, "/referrers/"+subject.Digest.String(), nil, http.StatusOK))
		if len(list) != 1 || list[0].Digest != digest.FromBytes(data) || list[0].ArtifactType != "application/vnd.example.sbom" || list[0].Annotations["a"] != "b" {
			p.Errorf("got %+v", list)
		}
		p.call(http.MethodDelete, "/manifests/"+list[0].Digest.String(), nil, http.StatusAccepted)
		if list := referrersOf(client{T: p.T}, p.call(http.MethodGet, "/referrers/"+subject.Digest.String(), nil, http.StatusOK)); len(list) != 0 {
			p.Errorf("deleted, and still listed: %+v", list)
		}
	}, except: noSubject},
}

var managementRequirements = []pushRequirement{
	{section: "Deleting tags", text: "202, then the tag is 404 and no longer listed", check: func(p pusher) {
		data := p.manifest("tags", nil)
		p.put("keep", data, http.StatusCreated)
		p.put("drop", data, http.StatusCreated)
		p.call(http.MethodDelete, "/manifests/drop", nil, http.StatusAccepted)
		p.call(http.MethodGet, "/manifests/drop", nil, http.StatusNotFound)
		p.call(http.MethodGet, "/manifests/keep", nil, http.StatusOK, "Accept", ocispec.MediaTypeImageManifest)
		var list tagList
		if err := json.Unmarshal([]byte(bodyOf(p.T, p.call(http.MethodGet, "/tags/list", nil, http.StatusOK))), &list); err != nil || !slices.Equal(list.Tags, []string{"keep"}) {
			p.Errorf("%v, %v", list, err)
		}
	}},
	{section: "Deleting tags", text: "a tag that is not there is 404", check: func(p pusher) {
		p.put("1", p.manifest("some", nil), http.StatusCreated)
		p.wantError(p.any(http.MethodDelete, "/manifests/2", nil), []int{http.StatusNotFound}, CodeManifestUnknown, CodeNameUnknown)
	}, except: map[string]string{"distribution": "answers 202 for a tag that is not there"}},
	{section: "Deleting Manifests", text: "202, then the digest and every tag of it are 404", check: func(p pusher) {
		data := p.manifest("manifest", nil)
		d := digest.FromBytes(data).String()
		p.put("1", data, http.StatusCreated)
		p.put("2", data, http.StatusCreated)
		p.call(http.MethodDelete, "/manifests/"+d, nil, http.StatusAccepted)
		for _, reference := range []string{"1", "2", d} {
			p.call(http.MethodGet, "/manifests/"+reference, nil, http.StatusNotFound, "Accept", ocispec.MediaTypeImageManifest)
		}
	}},
	{section: "Deleting Manifests", text: "a digest or a repository that is not there is 404", check: func(p pusher) {
		p.wantError(p.any(http.MethodDelete, "/manifests/"+absent, nil), []int{http.StatusNotFound}, CodeManifestUnknown, CodeNameUnknown)
		p.put("1", p.manifest("some", nil), http.StatusCreated)
		p.wantError(p.any(http.MethodDelete, "/manifests/"+absent, nil), []int{http.StatusNotFound}, CodeManifestUnknown, CodeNameUnknown)
	}},
	{section: "Deleting Manifests", text: "what was deleted may be pushed again", check: func(p pusher) {
		data := p.manifest("again", nil)
		p.put("1", data, http.StatusCreated)
		p.call(http.MethodDelete, "/manifests/"+digest.FromBytes(data).String(), nil, http.StatusAccepted)
		p.put("1", p.manifest("again", nil), http.StatusCreated)
		p.call(http.MethodGet, "/manifests/1", nil, http.StatusOK, "Accept", ocispec.MediaTypeImageManifest)
	}},
	{section: "Deleting Blobs", text: "202 or 405, and 202 means that it is gone", check: func(p pusher) {
		desc := p.blob([]byte("a blob to delete in " + p.repository))
		if p.any(http.MethodDelete, "/blobs/"+desc.Digest.String(), nil).StatusCode == http.StatusAccepted {
			p.call(http.MethodGet, "/blobs/"+desc.Digest.String(), nil, http.StatusNotFound)
		}
	}},
	{section: "Deleting Blobs", text: "a blob that is not there is 404 or 405", check: func(p pusher) {
		if got := p.any(http.MethodDelete, "/blobs/"+absent, nil).StatusCode; got != http.StatusNotFound && got != http.StatusMethodNotAllowed {
			p.Error(got)
		}
	}},
	{section: "Deleting Blobs", text: "a blob of an image stays with the image (airgap's 405)", check: func(p pusher) {
		p.put("1", p.manifest("whole", nil), http.StatusCreated)
		p.call(http.MethodDelete, "/blobs/"+digest.FromString("layer whole").String(), nil, http.StatusMethodNotAllowed)
		p.wantBlob([]byte("layer whole"), "/blobs/"+digest.FromString("layer whole").String())
	}, except: map[string]string{"distribution": "deletes it, and leaves the image broken"}},
}
