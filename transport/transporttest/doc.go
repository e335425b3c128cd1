// Package transporttest is a network within one process, for tests in virtual time (testing/synctest): connections with a rate and a delay that are cut, stall, lose their tail, are open at
// one end only, or swallow all. It is as TCP is: bytes come in order or not at all, and a window bounds what is under way.
package transporttest
