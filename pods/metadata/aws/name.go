package aws

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"kios/pods/metadata/want"
)

const (
	// nameBound is how long EC2 may take to know the name of a new instance.
	nameBound = 10 * time.Minute
	// reachBound is how long the API of EC2 may be out of reach for a node without a name.
	reachBound = time.Minute
)

// NodeName returns the name that the API server of the machine's EKS cluster has for it.
// Unless the cluster's access entry names nodes for their ids, that is the private DNS
// name which the API of EC2 tells: the metadata service tells another one where a VPC
// has a domain of its own. Where EC2 does not tell it, the node keeps the name that it had
// before, or has to do with that of the metadata service, "" being none. It asks until
// there is an answer, or ctx ends.
func (c *Cloud) NodeName(ctx context.Context, m *want.Machine, e *want.EKS, before string) (string, error) {
	if e.InstanceIDName {
		return m.ID, nil
	}
	name, err := c.awaitPrivateName(ctx, m.ID, before != "")
	if err == nil || ctx.Err() != nil {
		return name, err
	}
	if before != "" {
		c.log.Printf("the node keeps the name %s: %v; %s", before, err, remedy(err))
		return before, nil
	}
	c.log.Printf("the node's name is what the metadata service says, and the cluster does not know it if the VPC has a domain of its own: %v; %s", err, remedy(err))
	err = c.again(ctx, never, func() (err error) {
		name, err = c.localHostname(ctx)
		return err
	})
	return name, err
}

func remedy(err error) string {
	if refused(err) {
		return "let the role have ec2:DescribeInstances"
	}
	return "let the node reach the API of EC2, or set featureGates.InstanceIdNodeName"
}

// awaitPrivateName waits long for a name that EC2 does not know yet, and not as long for
// EC2. A node with a name waits for a sixth of that.
func (c *Cloud) awaitPrivateName(ctx context.Context, id string, named bool) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, nameBound)
	defer cancel()
	bound := c.reach
	if named {
		bound /= 6
	}
	late := time.AfterFunc(bound, cancel)
	defer late.Stop()
	err = c.again(ctx, refused, func() (err error) {
		if name, err = c.privateName(ctx, id); unnamed(err) {
			late.Stop()
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("ask EC2 for the private DNS name of %s: %w", id, err)
	}
	return name, err
}

var errUnnamed = errors.New("EC2 has none yet")

// unnamed reports whether EC2 has answered, and does not know the name yet.
func unnamed(err error) bool {
	r, ok := errors.AsType[*Refusal](err)
	return errors.Is(err, errUnnamed) || ok && r.Code == "InvalidInstanceID.NotFound"
}

// privateName is the error of an instance that has no name yet, too.
func (c *Cloud) privateName(ctx context.Context, id string) (string, error) {
	var found struct {
		Names []string `xml:"reservationSet>item>instancesSet>item>privateDnsName"`
	}
	if err := c.askEC2(ctx, url.Values{"Action": {"DescribeInstances"}, "InstanceId.1": {id}}, &found); err != nil {
		return "", err
	}
	if len(found.Names) == 0 || found.Names[0] == "" {
		return "", errUnnamed
	}
	return found.Names[0], nil
}

// localHostname is the first name if the VPC has several domains.
func (c *Cloud) localHostname(ctx context.Context) (string, error) {
	text, err := c.Metadata(ctx, "local-hostname")
	if err != nil {
		return "", err
	}
	names := strings.Fields(text)
	if len(names) == 0 {
		return "", errors.New("the metadata service has an empty local-hostname")
	}
	return names[0], nil
}

// TypeInfo returns how many network interfaces an instance type has on its first network
// card, and how many IPv4 addresses each has, as the API of EC2 tells. They are 0 if the
// role may not ask, or if the API does not answer.
func (c *Cloud) TypeInfo(ctx context.Context, instanceType string) (interfaces, addresses int, err error) {
	var found describedType
	if err := c.askEC2(ctx, url.Values{"Action": {"DescribeInstanceTypes"}, "InstanceType.1": {instanceType}}, &found); err != nil {
		return 0, 0, fmt.Errorf("ask EC2 for the network interfaces of the type %s: %w", instanceType, err)
	}
	interfaces, addresses = found.interfaces(), found.Addresses
	if interfaces <= 0 || addresses <= 0 {
		return 0, 0, fmt.Errorf("EC2 does not tell how many network interfaces the type %s has", instanceType)
	}
	return interfaces, addresses, nil
}

// describedType is what is read of the answer to DescribeInstanceTypes.
type describedType struct {
	Interfaces int `xml:"instanceTypeSet>item>networkInfo>maximumNetworkInterfaces"` // of all cards
	Addresses  int `xml:"instanceTypeSet>item>networkInfo>ipv4AddressesPerInterface"`
	Default    int `xml:"instanceTypeSet>item>networkInfo>defaultNetworkCardIndex"`
	Cards      []struct {
		Index      int `xml:"networkCardIndex"`
		Interfaces int `xml:"maximumNetworkInterfaces"`
	} `xml:"instanceTypeSet>item>networkInfo>networkCards>item"`
}

func (t describedType) interfaces() int {
	for _, card := range t.Cards {
		if card.Index == t.Default && card.Interfaces > 0 {
			return card.Interfaces
		}
	}
	return t.Interfaces
}

// askEC2 calls the Query API of EC2.
func (c *Cloud) askEC2(ctx context.Context, form url.Values, answer any) error {
	at, err := c.where(ctx)
	if err != nil {
		return err
	}
	form.Set("Version", "2016-11-15")
	host := "ec2." + at.region + "." + at.domain
	if at.onlyIPv6 {
		host = "ec2." + at.region + "." + dualStack(at.domain)
	}
	role, err := c.credentials(ctx)
	if err != nil {
		return err
	}
	body, err := c.call(ctx, request{
		service: "ec2", region: at.region, host: host, body: form.Encode(),
		header: map[string]string{"Content-Type": formType},
	}, role)
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("read the answer of %s: %w", host, err)
	}
	return nil
}

// dualStack is the domain of those hosts that have IPv6 addresses. Partitions that are
// not here have none.
func dualStack(domain string) string {
	switch domain {
	case "amazonaws.com":
		return "api.aws"
	case "amazonaws.com.cn":
		return "api.amazonwebservices.com.cn"
	}
	return domain
}
