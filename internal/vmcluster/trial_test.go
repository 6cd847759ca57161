//go:build trial

package vmcluster

import (
	"os"
	"testing"

	"kios/internal/gobuild"
	"kios/internal/oci"
	"kios/internal/progress"
)

func TestTrialProducts(t *testing.T) {
	log := progress.New(os.Stderr)
	out := "/tmp/up-products/"
	os.MkdirAll(out, 0o755)
	programs, err := gobuild.ControlPlane("/work/main", "v1.37.2")
	if err != nil {
		t.Fatal(err)
	}
	bin := map[string]string{}
	for _, p := range programs {
		if bin[p.Name], err = gobuild.Build(t.Context(), log, "/work/main", p); err != nil {
			t.Fatal(err)
		}
	}
	t.Log(bin)
	for _, p := range []struct{ name, version string }{{"kubernetes", "v1.37.2"}, {"etcd", "v3.7.3"}, {"kube-proxy", "v1.37.2"}} {
		err := oci.Write(out+p.name+".tar", oci.Image{
			Name: "kios.local/" + p.name + ":" + p.version, Entrypoint: []string{"/" + p.name}, Env: []string{"PATH=/:/usr/sbin:/usr/bin"},
			Files: []oci.File{{Path: "/" + p.name, Mode: 0o555, From: bin[p.name]}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink(bin["kubectl"], out+"kubectl")
}
