package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"kios/pods/lazyregexp"
	"kios/pods/metadata/fetch"
	"kios/pods/metadata/netdata"
	"kios/pods/metadata/want"
)

// answer is what a service has said so far.
type answer struct {
	Env
	ctx      context.Context
	row      *row
	client   *fetch.Client
	document document
	raw      []byte // the first document as it came
	machine  *want.Machine
	hostname string // as the cloud says it
	base64   bool   // user data are
}

// found is the service of a row.
func (r *row) found(env Env) *Found {
	f := &Found{Name: r.name, From: "the metadata service of " + r.name}
	f.read = func(ctx context.Context) (want.Machine, error) { return r.read(ctx, env) }
	if r.name == "azure" {
		f.ready = func(ctx context.Context) error { return reportReady(ctx, env) }
	}
	return f
}

func (r *row) client(env Env) *fetch.Client {
	c := env.client(slices.Clone(r.bases)...)
	if r.dhcp && env.DHCPServers != nil {
		c.Find = env.atDHCPServers
	}
	c.Header, c.Token, c.LowPort = r.header, r.token, r.lowPort
	return c
}

// atDHCPServers is where DHCP is. The lease may come later than the pod.
func (e Env) atDHCPServers() (bases []string) {
	for _, a := range e.DHCPServers() {
		bases = append(bases, "http://"+netip.AddrPortFrom(a, 80).String())
	}
	return bases
}

// read asks the service for all.
func (r *row) read(ctx context.Context, env Env) (want.Machine, error) {
	a := &answer{Env: env, ctx: ctx, row: r, client: r.client(env), document: document{}, machine: &want.Machine{}, base64: r.base64}
	for _, step := range []func() error{a.getDocuments, a.getTree, a.settle, a.getUserData, a.getNetwork} {
		if err := step(); err != nil {
			return want.Machine{}, err
		}
	}
	return *a.machine, nil
}

// ask asks for a source, which ErrAbsent says is not there.
func (a *answer) ask(s source, check func([]byte) error, limit int64) ([]byte, error) {
	var header map[string]string
	if s.accept != "" {
		header = map[string]string{"Accept": s.accept}
	}
	request := fetch.Request{Method: http.MethodGet, Path: s.path, Header: header, Limit: limit, Required: !s.absent, Check: check}
	request = a.expect(s.path, request, fetch.IsBlank)
	if s.under == "" && a.row.within != "" { // it has the user data in it
		request = a.expect(a.row.within, request, func([]byte) bool { return a.document.value(a.row.within) == "" })
	}
	body, err := a.client.Do(a.ctx, request)
	if err == nil && s.absent && !fetch.IsBlank(body) {
		a.had(s.path)
	}
	return body, err
}

// had notes what was there.
func (a *answer) had(name string) { a.machine.Had = append(a.machine.Had, name) }

// getDocuments gets the documents. What makes no sense is asked for again: services answer
// with pages of errors, or too early.
func (a *answer) getDocuments() error {
	for _, s := range a.row.documents {
		body, err := a.ask(s, func(body []byte) error { return a.take(s, body) }, maxDocument)
		if errors.Is(err, fetch.ErrAbsent) {
			continue
		}
		if err != nil {
			return err
		}
		if s.under == "" {
			a.raw = body
		}
	}
	return nil
}

// take puts an answer into the document, if it is one.
func (a *answer) take(s source, body []byte) error {
	if s.under != "" {
		value, err := parseValue(body)
		if err == nil {
			a.document[s.under] = value
		}
		return err
	}
	parse := parseJSON
	if s.yaml {
		parse = parseYAML
	}
	d, err := parse(body)
	if err == nil && clean(d.value(a.row.facts.id)) == "" {
		err = errors.New("the answer does not say which machine this is")
	}
	if err == nil {
		a.document = d
	}
	return err
}

// getTree gets the values one by one.
func (a *answer) getTree() error {
	for _, path := range a.row.tree.required {
		if err := a.getValue(path, true); err != nil {
			return err
		}
	}
	for _, path := range a.row.tree.optional {
		if err := a.getValue(path, false); err != nil {
			return err
		}
	}
	return nil
}

const maxTreeValue = 16 << 10

var macAddress = lazyregexp.New(`^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$`)

func (a *answer) getValue(path string, required bool) error {
	if strings.Contains(path, "{mac}") {
		mac := a.document.value("mac")
		if !macAddress().MatchString(mac) {
			return nil
		}
		path = strings.Replace(path, "{mac}", mac, 1)
	}
	body, err := a.ask(source{path: a.row.tree.path + path, absent: !required}, checkValue(required), maxTreeValue)
	if err == nil {
		a.document.set(path, strings.TrimSpace(string(body)))
	}
	if errors.Is(err, fetch.ErrAbsent) {
		return nil
	}
	return err
}

// checkValue refuses what is not words: one where the machine cannot do without it.
func checkValue(required bool) func([]byte) error {
	return func(body []byte) error {
		words := strings.Fields(string(body))
		if required && len(words) != 1 || slices.ContainsFunc(words, func(w string) bool { return clean(w) == "" }) {
			return errors.New("the answer makes no sense")
		}
		return nil
	}
}

// page matches how web pages and other documents of markup begin, with which servers and
// proxies say that something else is wrong. (User data for Windows begin with <powershell>.)
var page = lazyregexp.New(`(?i)^(?:\x{feff})?\s*<(?:!--|(?:!doctype|\?xml|html|head|body|title|h1|center|error)\b)`)

// checkUserData refuses a page.
func checkUserData(body []byte) error {
	if page().Match(body) {
		return errors.New("the answer is a web page")
	}
	return nil
}

// settle makes a machine of what the service has said.
func (a *answer) settle() error {
	a.row.facts.fill(a.machine, a.document)
	a.hostname = a.document.value(a.row.facts.hostname)
	if a.row.adjust != nil {
		a.row.adjust(a)
	}
	if a.machine.ProviderID == "" {
		a.machine.ProviderID = fillIn(a.row.id, a.machine, a.document)
	}
	name := a.hostname
	if !a.row.fqdn {
		name = short(name)
	}
	if a.machine.Hostname = hostname(name); a.machine.Hostname == "" && name != "" {
		a.Log.Printf("the cloud calls this machine %.100q, which is no host name: it gets none", name)
	}
	complete(a.machine, a.document, a.hostname)
	if prefix := a.row.inTemplates; prefix != "" {
		flatten(a.machine.Jinja, prefix, map[string]any(a.document), 0)
	}
	return nil
}

// getUserData gets user data, if there are any.
func (a *answer) getUserData() error {
	if a.machine.UserData != nil { // from a disc
		return nil
	}
	data := []byte(a.document.value(a.row.within))
	if len(data) > 0 {
		a.had(a.row.within)
	}
	if s := a.row.userData; s.path != "" {
		var err error
		s.absent = true
		if data, err = a.ask(s, checkUserData, 0); err != nil && !errors.Is(err, fetch.ErrAbsent) {
			return err
		}
	}
	if a.base64 {
		data = unpack(data)
	}
	if len(data) > 0 {
		a.machine.UserData = data
	}
	return nil
}

// getNetwork gets network data, if there are any.
func (a *answer) getNetwork() error {
	text := a.raw
	if a.row.network == "" {
		return nil
	}
	if path := a.row.netPath; path != "" {
		var err error
		text, err = a.ask(source{path: path, absent: true}, checkNetwork(a.row.network), maxDocument)
		if errors.Is(err, fetch.ErrAbsent) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	a.machine.Network = &want.Network{Format: a.row.network, Text: text}
	return nil
}

// checkNetwork refuses what is not in the format at all.
func checkNetwork(format string) func([]byte) error {
	return func(text []byte) error {
		if format == netdata.OpenStack && !json.Valid(text) {
			return errors.New("the answer is not the JSON that it has to be")
		}
		return nil
	}
}

// parseValue parses JSON that need not be a map.
func parseValue(text []byte) (any, error) {
	d, err := parseJSON(fmt.Appendf(nil, `{"value":%s}`, text))
	return d["value"], err
}
