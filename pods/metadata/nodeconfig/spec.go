package nodeconfig

import (
	"maps"

	"kios/pods/metadata/want"
)

// config is a NodeConfig.
type config struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"` // which has no meaning
	Spec       spec           `json:"spec"`
}

type spec struct {
	Cluster      cluster         `json:"cluster"`
	Containerd   containerd      `json:"containerd"`
	Instance     instance        `json:"instance"`
	Kubelet      kubelet         `json:"kubelet"`
	FeatureGates map[string]bool `json:"featureGates"`
}

type cluster struct {
	Name      string `json:"name"`
	Server    string `json:"apiServerEndpoint"`
	CA        string `json:"certificateAuthority"` // PEM in base64
	CIDR      string `json:"cidr"`                 // of services
	OnOutpost *bool  `json:"enableOutpost"`
	ID        string `json:"id"` // of one on an Outpost
}

type containerd struct {
	Config          string         `json:"config"`
	BaseRuntimeSpec map[string]any `json:"baseRuntimeSpec"`

	configs []string // of all documents, in their order
}

type instance struct {
	LocalStorage localStorage                 `json:"localStorage"`
	Environment  map[string]map[string]string `json:"environment"` // by service, or "default"
	Network      network                      `json:"network"`
}

type localStorage struct {
	Strategy       string   `json:"strategy"`
	MountPath      string   `json:"mountPath"`
	DisabledMounts []string `json:"disabledMounts"`
}

type network struct {
	Nameservers []string `json:"nameservers"`
	Domains     []string `json:"domains"`
}

type kubelet struct {
	Config            map[string]any `json:"config"`
	Flags             []string       `json:"flags"`
	MaxPodsExpression string         `json:"maxPodsExpression"`
}

// merge lets the fields that a later document has count in place of those before. Maps
// are merged, flags follow each other, other lists are replaced.
func (s *spec) merge(later spec) {
	s.Cluster.merge(later.Cluster)
	s.Containerd.merge(later.Containerd)
	s.Instance.merge(later.Instance)
	s.Kubelet.merge(later.Kubelet)
	s.FeatureGates = union(s.FeatureGates, later.FeatureGates)
}

func (c *cluster) merge(later cluster) {
	override(&c.Name, later.Name)
	override(&c.Server, later.Server)
	override(&c.CA, later.CA)
	override(&c.CIDR, later.CIDR)
	override(&c.OnOutpost, later.OnOutpost)
	override(&c.ID, later.ID)
}

func (c *containerd) merge(later containerd) {
	if later.Config != "" {
		c.configs = append(c.configs, later.Config)
	}
	c.BaseRuntimeSpec = union(c.BaseRuntimeSpec, later.BaseRuntimeSpec)
}

func (i *instance) merge(later instance) {
	override(&i.LocalStorage.Strategy, later.LocalStorage.Strategy)
	override(&i.LocalStorage.MountPath, later.LocalStorage.MountPath)
	replace(&i.LocalStorage.DisabledMounts, later.LocalStorage.DisabledMounts)
	replace(&i.Network.Nameservers, later.Network.Nameservers)
	replace(&i.Network.Domains, later.Network.Domains)
	for service, variables := range later.Environment {
		i.Environment = union(i.Environment, map[string]map[string]string{service: union(i.Environment[service], variables)})
	}
}

func (k *kubelet) merge(later kubelet) {
	k.Flags = append(k.Flags, later.Flags...)
	override(&k.MaxPodsExpression, later.MaxPodsExpression)
	k.Config = want.Overlay(k.Config, later.Config)
}

// override sets a value, unless the new one is none.
func override[T comparable](value *T, later T) {
	if later != *new(T) {
		*value = later
	}
}

func replace(list *[]string, later []string) {
	if len(later) > 0 {
		*list = later
	}
}

// union adds the later map's keys to a map, which may be nil.
func union[M ~map[string]V, V any](m, later M) M {
	if m == nil && len(later) > 0 {
		m = M{}
	}
	maps.Copy(m, later)
	return m
}

// dropNulls removes the fields whose value is null: as in a drop-in of the kubelet, that
// takes a field away that was there before.
func dropNulls(fields map[string]any) {
	for name, value := range fields {
		if inner, ok := value.(map[string]any); ok {
			dropNulls(inner)
		} else if value == nil {
			delete(fields, name)
		}
	}
}
