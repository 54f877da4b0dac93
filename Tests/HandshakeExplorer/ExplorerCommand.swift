// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

#if canImport(Darwin)
private import Darwin
#elseif canImport(Musl)
private import Musl
#else
private import Glibc
#endif

/// The explorer as a program. Its argument is the largest number of faults: it explores with none, then with one, and
/// so on, at both paces, and stops at the first broken rule with exit status 1. The last line sums up.
package func exploreAndExit(_ arguments: [String]) -> Never {
    guard arguments.count == 2, let most = Int(arguments[1]), most >= 0 else {
        print("usage: explore FAULTS")
        exit(64)
    }
    var states = 0
    var coverage = Coverage()
    for faults in 0...most {
        for pace in Pace.allCases {
            let result = Explorer.explore(pace, faults: faults)
            states += result.states
            coverage.formUnion(result.coverage)
            print("\(result.summary(pace, faults: faults))")
            if let broken = result.broken {
                print("after \(states) states: broken: \(broken)")
                exit(1)
            }
        }
    }
    print("\(coverage)\nafter \(states) states: every rule holds")
    exit(0)
}
