package source

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"airgap/docs"
)

// TestSchemaAgreesWithStructs walks the structs and the schema together: the same keys, types, and
// required ones.
func TestSchemaAgreesWithStructs(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(docs.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	agree(t, "", schema, reflect.TypeFor[Spec]())
}

func agree(t *testing.T, where string, schema map[string]any, typ reflect.Type) {
	t.Helper()
	if options, ok := schema["oneOf"].([]any); ok { // a string or a mapping
		if _, ok := reflect.New(typ).Interface().(interface{ fromString(string) }); !ok {
			t.Errorf("%s: a string in the schema, but not in %v", where, typ)
		}
		schema = options[1].(map[string]any)
	}
	want := map[reflect.Kind]string{
		reflect.Struct: "object", reflect.Slice: "array", reflect.String: "string", reflect.Bool: "boolean",
	}[typ.Kind()]
	if schema["type"] != want {
		t.Errorf("%s: %v in the schema, %s in %v", where, schema["type"], want, typ)
		return
	}
	switch typ.Kind() {
	case reflect.Slice:
		agree(t, where+"[]", schema["items"].(map[string]any), typ.Elem())
	case reflect.Struct:
		if schema["additionalProperties"] != false {
			t.Errorf("%s: the schema takes unknown keys", where)
		}
		properties := schema["properties"].(map[string]any)
		required := fmt.Sprint(schema["required"])
		var needed, keys []string
		for i := range typ.NumField() {
			field := typ.Field(i)
			key := field.Tag.Get("yaml")
			if key == "" {
				continue
			}
			keys = append(keys, key)
			if field.Tag.Get("need") == "true" {
				needed = append(needed, key)
			}
			property, ok := properties[key].(map[string]any)
			if !ok {
				t.Errorf("%s.%s: not in the schema", where, key)
				continue
			}
			agree(t, where+"."+key, property, field.Type)
		}
		for key := range properties {
			if !slices.Contains(keys, key) {
				t.Errorf("%s.%s: in the schema alone", where, key)
			}
		}
		if schema["required"] == nil {
			required = "[]"
		}
		if got := fmt.Sprint(needed); got != required {
			t.Errorf("%s: needs %s, the schema %s", where, got, required)
		}
	}
}
