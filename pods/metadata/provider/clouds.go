package provider

import (
	"path"
	"strings"

	"kios/pods/lazyregexp"
)

// adjustEC2 has the name without the second and further domains of a VPC's options, which
// the service puts behind a space.
func adjustEC2(a *answer) {
	a.hostname, _, _ = strings.Cut(a.hostname, " ")
	a.document.set("local-hostname", a.hostname)
}

// adjustGCP takes names out of paths such as projects/1/zones/us-central1-a. Its
// controller knows a machine by its name, without the domain.
func adjustGCP(a *answer) {
	m, d := a.machine, a.document
	m.Zone, m.Type = clean(path.Base(d.value("instance.zone"))), ""
	if kind := d.value("instance.machine-type"); kind != "" {
		m.Type = clean(path.Base(kind))
	}
	m.Region = beforeLast(m.Zone, "-")
	a.base64 = d.value("instance.attributes.user-data-encoding") == "base64"
}

func beforeLast(s, separator string) string {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i]
	}
	return ""
}

// adjustHetzner has the region as Hetzner's controller sets it: the location, which is the
// part of the zone before "-dc". The service's region is the network zone.
func adjustHetzner(a *answer) {
	if location, _, found := strings.Cut(a.machine.Zone, "-dc"); found {
		a.machine.Region = location
	}
}

// adjustOracle cuts off the tenancy's prefix of an availability domain, as its controller
// does.
func adjustOracle(a *answer) {
	if _, domain, found := strings.Cut(a.machine.Zone, ":"); found {
		a.machine.Zone = domain
	}
}

// scalewayZone is one such as fr-par-1. Older machines have another name for it.
var scalewayZone = lazyregexp.New(`^[a-z]+-[a-z]+-[0-9]+$`)

func adjustScaleway(a *answer) {
	if !scalewayZone().MatchString(a.machine.Zone) {
		a.machine.Zone = ""
	}
	a.machine.Region = beforeLast(a.machine.Zone, "-")
}

// adjustAzure has zone and provider id as Azure's controller sets them.
func adjustAzure(a *answer) {
	m, d := a.machine, a.document
	m.Region = strings.ToLower(m.Region)
	m.Zone = clean(d.value("compute.platformFaultDomain"))
	if zone := d.value("compute.zone"); zone != "" {
		m.Zone = clean(m.Region + "-" + zone)
	}
	if id := azureID(clean(d.value("compute.resourceId"))); id != "" {
		m.ProviderID = "azure://" + id
	}
	a.readAzureDisc()
}

// azureGroup finds the name of the resource group, which Azure says in any case and its
// controller in lower case.
var azureGroup = lazyregexp.New(`(?i)^(/subscriptions/[^/]+/resourceGroups/)([^/]+)(/.*)$`)

func azureID(id string) string {
	parts := azureGroup().FindStringSubmatch(id)
	if parts == nil {
		return ""
	}
	return parts[1] + strings.ToLower(parts[2]) + parts[3]
}
