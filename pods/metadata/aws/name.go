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

// nameBound is how long EC2 may take to know the name of a new instance.
const nameBound = 10 * time.Minute

// NodeName returns the name that the API server of the machine's EKS cluster has for it.
// Unless the cluster's access entry names nodes for their ids, that is the private DNS
// name which the API of EC2 tells: the metadata service tells another one where a VPC
// has a domain of its own. A role without ec2:DescribeInstances has to do with that. It
// asks until there is an answer, or ctx ends.
func (c *Cloud) NodeName(ctx context.Context, m *want.Machine, e *want.EKS) (string, error) {
	if e.InstanceIDName {
		return m.ID, nil
	}
	name, err := c.awaitPrivateName(ctx, m.ID)
	if err == nil || ctx.Err() != nil {
		return name, err
	}
	c.log.Printf("the node's name is what the metadata service says, and the cluster does not know it if the VPC has a domain of its own: %v; let the role have ec2:DescribeInstances", err)
	err = c.again(ctx, never, func() (err error) {
		name, err = c.localHostname(ctx)
		return err
	})
	return name, err
}

func (c *Cloud) awaitPrivateName(ctx context.Context, id string) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, nameBound)
	defer cancel()
	err = c.again(ctx, forbidden, func() (err error) {
		name, err = c.privateName(ctx, id)
		return err
	})
	if err != nil {
		err = fmt.Errorf("ask EC2 for the private DNS name of %s: %w", id, err)
	}
	return name, err
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
		return "", errors.New("EC2 has none yet")
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
