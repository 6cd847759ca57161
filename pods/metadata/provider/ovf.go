package provider

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// ovfEnv is what an ovf-env.xml says: properties of the OVF specification's environment
// (DSP0243, 9), and what Azure has in one.
type ovfEnv struct {
	properties           map[string]string
	hostname, customData string
}

const maxProperties = 256

func parseOVF(text []byte) (*ovfEnv, error) {
	env := &ovfEnv{properties: map[string]string{}}
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return env, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read ovf-env.xml: %w", err)
		}
		if start, ok := token.(xml.StartElement); ok {
			if err := env.element(d, start); err != nil {
				return nil, fmt.Errorf("read ovf-env.xml: %w", err)
			}
		}
	}
}

func (env *ovfEnv) element(d *xml.Decoder, start xml.StartElement) error {
	switch start.Name.Local {
	case "Property":
		env.property(start.Attr)
	case "HostName":
		return d.DecodeElement(&env.hostname, &start)
	case "CustomData":
		return d.DecodeElement(&env.customData, &start)
	}
	return nil
}

func (env *ovfEnv) property(attributes []xml.Attr) {
	var key, value string
	for _, a := range attributes {
		switch a.Name.Local {
		case "key":
			key = a.Value
		case "value":
			value = a.Value
		}
	}
	if key != "" && len(env.properties) < maxProperties {
		env.properties[key] = value
	}
}

// first returns the first property that is there and not empty.
func (env *ovfEnv) first(keys ...string) string {
	for _, key := range keys {
		if value := env.properties[key]; value != "" {
			return value
		}
	}
	return ""
}
