// Package operatortest holds a stand-in for the engine behind the operator's service.
package operatortest
