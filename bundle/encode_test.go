package bundle

import (
	"errors"
	"strings"
	"testing"
)

// validEncoded returns the manifest of a bundle of everything, encoded.
func validEncoded(t testing.TB) string {
	t.Helper()
	r, err := Open(create(t, testContent(t, 10), CreateOptions{}), AllowUnsigned{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := r.Manifest().Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestDecodeIsStrict(t *testing.T) {
	valid := validEncoded(t)
	if _, err := DecodeManifest([]byte(valid)); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"unknown key":         {`{`, `{"extra":1,`},
		"duplicate key":       {`"name":"site-a"`, `"name":"site-a","name":"site-b"`},
		"duplicate, same":     {`"name":"site-a"`, `"name":"site-a","name":"site-a"`},
		"other case":          {`"name"`, `"NAME"`},
		"other case, too":     {`"name":"site-a"`, `"name":"site-a","Name":"site-b"`},
		"other order":         {`"apiVersion":"airgap/v1","kind":"BundleManifest"`, `"kind":"BundleManifest","apiVersion":"airgap/v1"`},
		"white space":         {`,"kind"`, `, "kind"`},
		"byte order mark":     {`{"apiVersion"`, "\ufeff" + `{"apiVersion"`},
		"escaped":             {`"site-a"`, `"site\u002da"`},
		"null list":           {`"platforms":["linux/amd64"]`, `"platforms":null`},
		"left out":            {`"platforms":["linux/amd64"],`, ``},
		"empty, not left out": {`"issuedAt"`, `"minimumAirgap":"","issuedAt"`},
		"number as fraction":  {`"path":"oci-layout","size":30`, `"path":"oci-layout","size":30.0`},
		"number with power":   {`"path":"oci-layout","size":30`, `"path":"oci-layout","size":3e1`},
		"number as string":    {`"path":"oci-layout","size":30`, `"path":"oci-layout","size":"30"`},
		"invalid UTF-8":       {`"site-a"`, "\"site-\xff\""},
		"deep nesting":        {`"name":"site-a"`, `"name":` + strings.Repeat("[", 20000)},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(valid, edit[0], edit[1], 1)
			if changed == valid {
				t.Fatalf("%q is not in the manifest", edit[0])
			}
			if _, err := DecodeManifest([]byte(changed)); !errors.Is(err, ErrFormat) {
				t.Errorf("error %v, want ErrFormat", err)
			}
		})
	}
	for name, data := range map[string]string{
		"empty": "", "null": "null", "list": "[]", "newline": valid + "\n", "trailing object": valid + "{}", "trailing zero": valid + "\x00", "cut": valid[:len(valid)-1],
		"too long": valid + strings.Repeat(" ", MaxManifestBytes),
	} {
		if _, err := DecodeManifest([]byte(data)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: error %v, want ErrFormat", name, err)
		}
	}
}
