package awslab

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// registryPassword is what ECR gives to those who may pull.
const registryPassword = "a-password-of-twelve-hours"

// Password is what the registry wants of the user AWS.
func (l *Lab) Password() string { return registryPassword }

// serveAPI is what the hosts of Amazon do, by their names.
func (l *Lab) serveAPI(w http.ResponseWriter, r *http.Request) {
	host := strings.TrimSuffix(r.Host, ":443")
	l.note(r.Method + " " + host + r.URL.Path)
	switch {
	case strings.Contains(host, ".dkr.ecr") || strings.Contains(host, ".dkr-ecr"):
		l.serveRegistry(w, r)
	case strings.HasPrefix(host, "sts."):
		l.serveSTS(w, r)
	case strings.HasPrefix(host, "ec2."):
		l.signed(w, r, "ec2", l.serveEC2)
	case strings.HasPrefix(host, "api.ecr-public.") || strings.HasPrefix(host, "ecr-public."):
		l.signed(w, r, "ecr-public", l.servePublicECR)
	case strings.HasPrefix(host, "api.ecr") || strings.HasPrefix(host, "ecr"):
		l.signed(w, r, "ecr", l.serveECR)
	default:
		http.Error(w, "there is no "+host, http.StatusNotFound)
	}
}

// signed lets those pass who sign as the machine's role.
func (l *Lab) signed(w http.ResponseWriter, r *http.Request, service string, serve func(http.ResponseWriter, *http.Request, []byte)) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		err = l.key.Verify(r, body, service, l.regionOf(r.Host))
	}
	if err != nil {
		l.refuse(w, r, "SignatureDoesNotMatch", err.Error())
		return
	}
	serve(w, r, body)
}

// regionOf takes the region out of the name of a host.
func (l *Lab) regionOf(host string) string {
	for label := range strings.SplitSeq(host, ".") {
		if strings.Count(label, "-") >= 2 {
			return label
		}
	}
	return l.Options().Region
}

// refuse answers as the services do: those with X-Amz-Target in JSON, EC2 and STS in XML.
func (l *Lab) refuse(w http.ResponseWriter, r *http.Request, code, message string) {
	status := http.StatusForbidden
	if r.Header.Get("X-Amz-Target") != "" {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
		return
	}
	var text strings.Builder
	xml.EscapeText(&text, []byte(message))
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.WriteHeader(status)
	if strings.HasPrefix(r.Host, "sts.") {
		fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>", code, text.String())
		return
	}
	fmt.Fprintf(w, "<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>1</RequestID></Response>", code, text.String())
}

// serveSTS says who has signed. It answers in JSON, as those want it who ask in the place
// of another.
func (l *Lab) serveSTS(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	form, _ := url.ParseQuery(string(body))
	if form.Get("Action") == "AssumeRoleWithWebIdentity" {
		l.assumeRole(w, r, form)
		return
	}
	err := l.key.Verify(r, body, "sts", l.regionOf(r.Host))
	if err == nil && r.URL.Query().Get("Action") != "GetCallerIdentity" {
		err = fmt.Errorf("the action %q is not known here", r.URL.Query().Get("Action"))
	}
	if err != nil {
		l.refuse(w, r, "SignatureDoesNotMatch", err.Error())
		return
	}
	o := l.Options()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"GetCallerIdentityResponse": map[string]any{
		"GetCallerIdentityResult": map[string]string{
			"Account": o.Account, "UserId": "AROA0123456789EXAMPLE:" + o.Instance,
			"Arn": fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", o.Account, o.Role, o.Instance),
		},
		"ResponseMetadata": map[string]string{"RequestId": "1"},
	}})
}

// assumeRole gives the machine's own key to every service account whose token is one.
func (l *Lab) assumeRole(w http.ResponseWriter, r *http.Request, form url.Values) {
	if form.Get("WebIdentityToken") == "" || !strings.HasPrefix(form.Get("RoleArn"), "arn:aws") {
		l.refuse(w, r, "InvalidIdentityToken", "this is no token")
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
		l.key.ID, l.key.Secret, l.key.Session)
}

// serveEC2 knows one instance and one type.
func (l *Lab) serveEC2(w http.ResponseWriter, r *http.Request, body []byte) {
	form, _ := url.ParseQuery(string(body))
	action := form.Get("Action")
	o := l.Options()
	switch {
	case slices.Contains(o.Denied, "ec2:"+action):
		l.refuse(w, r, "UnauthorizedOperation", "You are not authorized to perform this operation.")
	case action == "DescribeInstances" && form.Get("InstanceId.1") != o.Instance:
		l.refuse(w, r, "InvalidInstanceID.NotFound", "The instance ID does not exist")
	case action == "DescribeInstances":
		fmt.Fprintf(w, instanceXML, o.Instance, o.PrivateDNSName)
	case action == "DescribeInstanceTypes":
		fmt.Fprintf(w, typeXML, form.Get("InstanceType.1"), o.Interfaces, o.Addresses)
	default:
		l.refuse(w, r, "InvalidAction", "The action "+action+" is not valid")
	}
}

// As the API of 2016-11-15 has them, without what nobody reads. Other elements have the
// names of those that are read, on purpose.
const (
	instanceXML = `<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId><reservationSet><item>
<instancesSet><item><instanceId>%s</instanceId><networkInterfaceSet><item><privateDnsName>of-an-interface</privateDnsName>
</item></networkInterfaceSet><privateDnsName>%s</privateDnsName></item></instancesSet></item></reservationSet></DescribeInstancesResponse>`
	typeXML = `<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstanceTypesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId><instanceTypeSet><item>
<instanceType>%s</instanceType><networkInfo><defaultNetworkCardIndex>0</defaultNetworkCardIndex><maximumNetworkInterfaces>99</maximumNetworkInterfaces>
<networkCards><item><networkCardIndex>1</networkCardIndex><maximumNetworkInterfaces>98</maximumNetworkInterfaces></item>
<item><networkCardIndex>0</networkCardIndex><maximumNetworkInterfaces>%d</maximumNetworkInterfaces></item></networkCards>
<ipv4AddressesPerInterface>%d</ipv4AddressesPerInterface></networkInfo></item></instanceTypeSet></DescribeInstanceTypesResponse>`
)

func (l *Lab) authorization() map[string]any {
	return map[string]any{
		"authorizationToken": base64.StdEncoding.EncodeToString([]byte("AWS:" + registryPassword)),
		"expiresAt":          float64(time.Now().Add(12*time.Hour).UnixMilli()) / 1000,
	}
}

func (l *Lab) serveECR(w http.ResponseWriter, r *http.Request, _ []byte) {
	if l.allowsECR(w, r, "ecr", "AmazonEC2ContainerRegistry_V20150921") {
		json.NewEncoder(w).Encode(map[string]any{"authorizationData": []any{l.authorization()}})
	}
}

func (l *Lab) servePublicECR(w http.ResponseWriter, r *http.Request, _ []byte) {
	if l.allowsECR(w, r, "ecr-public", "SpencerFrontendService") {
		json.NewEncoder(w).Encode(map[string]any{"authorizationData": l.authorization()})
	}
}

// allowsECR answers what is not allowed, or not known.
func (l *Lab) allowsECR(w http.ResponseWriter, r *http.Request, service, target string) bool {
	const action = "GetAuthorizationToken"
	switch {
	case r.Header.Get("X-Amz-Target") != target+"."+action || r.Header.Get("Content-Type") != "application/x-amz-json-1.1":
		l.refuse(w, r, "com.amazon.coral.service#UnknownOperationException", "")
	case slices.Contains(l.Options().Denied, service+":"+action):
		l.refuse(w, r, "AccessDeniedException", "User is not authorized to perform: "+service+":"+action)
	default:
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		return true
	}
	return false
}

// serveRegistry is the registry, for those with the password.
func (l *Lab) serveRegistry(w http.ResponseWriter, r *http.Request) {
	if user, password, ok := r.BasicAuth(); !ok || user != "AWS" || password != registryPassword {
		w.Header().Set("WWW-Authenticate", `Basic realm="https://`+r.Host+`/",service="ecr.amazonaws.com"`)
		http.Error(w, "no basic auth credentials", http.StatusUnauthorized)
		return
	}
	registry := l.Options().Registry
	if registry == nil {
		registry = http.NotFoundHandler()
	}
	registry.ServeHTTP(w, r)
}
