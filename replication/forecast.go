package replication

import "time"

// Forecast is what a planned failback would take that is begun now. All of it is estimated from what the group's last cycles and moves took.
type Forecast struct {
	Point  PointID        `json:"point"`       // that the disks would be brought to
	Cut    time.Time      `json:"cut"`         // its instant
	Ahead  time.Duration  `json:"ahead_nanos"` // while the machine still runs: what is done so that little is left when it stops
	Down   time.Duration  `json:"down_nanos"`  // from the machine's stop until the disks are its own
	Bytes  int64          `json:"bytes"`       // that have to be sent while it is down, before compression
	Churn  float64        `json:"churn"`       // bytes a second that changed in the last cycles
	Cycles int            `json:"cycles"`      // that this stands on
	Parts  []ForecastPart `json:"parts"`       // in the order in which they come
	Doubts []string       `json:"doubts"`      // in words: why it may come otherwise
}

// ForecastPart is one step of a planned failback.
type ForecastPart struct {
	What  string        `json:"what"`
	Down  bool          `json:"down"` // the machine is down meanwhile
	Takes time.Duration `json:"takes_nanos"`
	Bytes int64         `json:"bytes"` // 0: that is not what it is about
	How   string        `json:"how"`   // it was estimated, in words
}

// CodeNoForecast is the code of a group of which not enough is known.
const CodeNoForecast = "no-forecast"
