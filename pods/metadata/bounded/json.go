package bounded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// JSON parses a text of JSON into what into points to. Like YAML it is not strict. An error
// says where the mistake is: at which line and column, or in which field.
func JSON(text []byte, into any) error {
	if err := checkSize(text); err != nil {
		return err
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	err := json.Unmarshal(text, into)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("%s: %w", position(text, syntax.Offset), err)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s is of the type %s, and must be %s", fieldName(wrong.Field), firstWord(wrong.Value), kindName(wrong.Type))
	}
	return err
}

// ErrNested is about a list or map where a text has to be.
var ErrNested = errors.New("there is a list or map in place of a text: put quotes around a text that has ': ' in it or begins with [ or {")

// Scalar sets a text to a value of JSON that is one, or a number or truth value: YAML makes
// those of a text without quotes. null leaves it as it is.
func Scalar(value []byte, text *string) error {
	switch {
	case value[0] == '[' || value[0] == '{':
		return ErrNested
	case value[0] == '"':
		return json.Unmarshal(value, text)
	case string(value) != "null":
		*text = string(value)
	}
	return nil
}

func errLong(text []byte) error {
	return fmt.Errorf("it has %d bytes, and at most %d are read: send less, or put files into images", len(text), MaxText)
}

// position is that of the byte with which an error was found: bytes are counted from 1 on.
func position(text []byte, offset int64) string {
	before := text[:max(min(int(offset), len(text))-1, 0)]
	return fmt.Sprintf("line %d, column %d", bytes.Count(before, []byte("\n"))+1, len(before)-bytes.LastIndexByte(before, '\n'))
}

func fieldName(path string) string {
	if path == "" {
		return "a value"
	}
	return fmt.Sprintf("the field %.200s", path)
}

// firstWord leaves out the value behind the type, which may be secret.
func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Map, reflect.Struct:
		return "object"
	case reflect.Int, reflect.Int64, reflect.Float64:
		return "number"
	}
	return t.Kind().String()
}
