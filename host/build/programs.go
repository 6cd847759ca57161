package build

import (
	"context"
	"slices"

	"kios/host/gobuild"
)

// programs are the paths of built binaries, by name.
type programs map[string]string

// node returns those that belong into /bin.
func (p programs) node() programs {
	n := programs{"init": p["init"]}
	for _, u := range gobuild.Upstream {
		n[u.Name] = p[u.Name]
	}
	return n
}

// own are our programs, and where their sources are.
var own = map[string]string{
	"init":   "./init",
	"stage1": "./init/stage1",
	"system": "./pods/system",
	"hello":  "./pods/hello",
}

// Upstream builds the upstream programs and returns their paths by name.
func (b *Builder) Upstream(ctx context.Context) (map[string]string, error) {
	bins := programs{}
	for _, p := range gobuild.Upstream {
		path, err := b.upstream(ctx, p)
		if err != nil {
			return nil, err
		}
		bins[p.Name] = path
	}
	return bins, nil
}

// Runc builds runc and returns its path.
func (b *Builder) Runc(ctx context.Context) (string, error) {
	i := slices.IndexFunc(gobuild.Upstream, func(p gobuild.Program) bool { return p.Name == "runc" })
	return b.upstream(ctx, gobuild.Upstream[i])
}

// upstream builds a program that is not ours. Those with C are linked with libraries of
// the node's Debian, whatever this machine has.
func (b *Builder) upstream(ctx context.Context, p gobuild.Program) (string, error) {
	target := gobuild.Target{Arch: b.Arch}
	if p.CGO {
		debs, err := b.fetchPackages(ctx, map[string]string{librariesPackage: b.Versions.Debian.Packages[librariesPackage]})
		if err != nil {
			return "", err
		}
		target.C = &gobuild.Sysroot{Dir: debs[librariesPackage].dir}
	}
	return gobuild.Build(ctx, b.Log, b.Root, target, p)
}

func (b *Builder) buildPrograms(ctx context.Context) (programs, error) {
	step := b.Log.Start("build kiOS' own programs")
	bins, err := b.buildOwn(ctx)
	if step.End(err) != nil {
		return nil, err
	}
	upstream, err := b.Upstream(ctx)
	if err != nil {
		return nil, err
	}
	for name, path := range upstream {
		bins[name] = path
	}
	return bins, nil
}

func (b *Builder) buildOwn(ctx context.Context) (programs, error) {
	bins := programs{}
	for name, pkg := range own {
		bins[name] = b.Out("bin/" + name)
		if err := gobuild.BuildOwn(ctx, b.Root, b.Arch, pkg, bins[name], nil); err != nil {
			return nil, err
		}
	}
	return bins, nil
}
