package provider

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"kios/pods/metadata/fetch"
)

// readAzureDisc takes user data from the disc that Azure puts into a new machine: what it
// calls custom data. The service has what it calls user data.
func (a *answer) readAzureDisc() {
	env := a.awaitDisc()
	if env == nil && slices.Contains(a.Had, azureDisc) {
		a.had(azureDisc)
		a.machine.Gone = a.document.value(a.row.within) == ""
	}
	if env == nil {
		return
	}
	if a.hostname == "" {
		a.hostname = env.hostname
	}
	if data := unpack([]byte(env.customData)); len(data) > 0 {
		a.machine.UserData = data
		a.had(azureDisc)
	}
}

// azureDisc is the disc's name among what a machine had.
const azureDisc = "disc"

// awaitDisc returns what is on the disc. Later, there may be none.
func (a *answer) awaitDisc() (env *ovfEnv) {
	a.View.Settle(a.ctx, func() bool {
		env = a.lookForDisc()
		return env != nil
	})
	return env
}

func (a *answer) lookForDisc() *ovfEnv {
	for _, v := range a.View.Volumes() {
		if !v.Optical() {
			continue
		}
		files, err := v.Read(maxFile, ovfFile)
		if err == nil && files[ovfFile] != nil {
			var env *ovfEnv
			if env, err = parseOVF(files[ovfFile]); err == nil {
				return env
			}
		}
		if err != nil {
			a.Log.Printf("Azure's disc is left out: %v", err)
		}
	}
	return nil
}

// wireServer is where Azure's machines say how they are.
const wireServer = "http://168.63.129.16"

const maxGoalState = 64 << 10

// goalState is what a report of health has to name.
type goalState struct {
	Incarnation string
	Container   struct {
		ContainerID string `xml:"ContainerId"`
		InstanceID  string `xml:"RoleInstanceList>RoleInstance>InstanceId"`
	}
}

// health is the report.
type health struct {
	XMLName     xml.Name `xml:"Health"`
	Incarnation string   `xml:"GoalStateIncarnation"`
	ContainerID string   `xml:"Container>ContainerId"`
	InstanceID  string   `xml:"Container>RoleInstanceList>Role>InstanceId"`
	State       string   `xml:"Container>RoleInstanceList>Role>Health>State"`
}

// reportReady ends Azure's wait for the machine, which otherwise fails after minutes.
func reportReady(ctx context.Context, env Env) error {
	c := env.client(wireServer)
	c.Header = map[string]string{"x-ms-agent-name": "kiOS", "x-ms-version": "2012-11-30"}
	var goal goalState
	_, err := c.Do(ctx, fetch.Request{Path: "/machine/?comp=goalstate", Limit: maxGoalState, Required: true, Check: goal.parse})
	if err != nil {
		return fmt.Errorf("tell Azure that the machine is ready: %w", err)
	}
	_, err = c.Do(ctx, fetch.Request{
		Method: http.MethodPost, Path: "/machine?comp=health", Body: goal.ready(), Limit: maxGoalState, Required: true,
		Header: map[string]string{"Content-Type": "text/xml; charset=utf-8"},
	})
	if err != nil {
		return fmt.Errorf("tell Azure that the machine is ready: %w", err)
	}
	return nil
}

func (g *goalState) parse(body []byte) error {
	var read goalState
	if err := xml.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), &read); err != nil {
		return fmt.Errorf("the goal state makes no sense: %w", err)
	}
	if read.Container.ContainerID == "" || read.Container.InstanceID == "" {
		return errors.New("the goal state does not say which machine this is")
	}
	*g = read
	return nil
}

func (g *goalState) ready() []byte {
	text, _ := xml.Marshal(health{Incarnation: g.Incarnation, ContainerID: g.Container.ContainerID, InstanceID: g.Container.InstanceID, State: "Ready"}) // of texts: it cannot fail
	return append([]byte(xml.Header), text...)
}
