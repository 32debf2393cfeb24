package strictjson

import "testing"

func TestEncode(t *testing.T) {
	got, err := Encode(map[string]any{"b": "<&>", "a": []int{1}})
	if want := `{"a":[1],"b":"<&>"}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if _, err := Encode(func() {}); err == nil {
		t.Error("a function has no JSON")
	}
}

func TestDecode(t *testing.T) {
	for text, good := range map[string]bool{
		`{"a":1}`: true, " {\n\"a\" : 1}\n": true,
		`{"a":1,"b":2}`: false, `{"a":1}{}`: false, `{"a":1} x`: false, `{"a":1`: false, `{"a":"1"}`: false, ``: false,
	} {
		var into struct{ A int }
		if err := Decode([]byte(text), &into); (err == nil) != good || good && into.A != 1 {
			t.Errorf("%q: %+v, %v", text, into, err)
		}
	}
}
