package main

import (
	"testing"

	"failback/observe/observetest"
)

func TestDashboardAndRulesNameWhatIsExported(t *testing.T) {
	observetest.Exported(t, "../../observe", newCollector(nil, nil), "failback_processserver_")
}
