// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem

/// Which process is in charge, and how it ended. A value: it is told what happened.
struct Lineage {
    private(set) var current: CInt
    /// nil while it lives.
    private(set) var ending: SpawnedProcess.Ending?
    /// The last few to end: a process may be named when it has ended already.
    private var ended: [(process: CInt, ending: SpawnedProcess.Ending)] = []

    private static let memory = 32

    init(first: CInt) { self.current = first }

    /// `isOurs`: there is such a process, and it is one of the program's. What is remembered of its id was another one.
    /// - Returns: whether it is followed.
    mutating func wasNamed(_ process: CInt, isOurs: Bool) -> Bool {
        let ending = isOurs ? nil : self.ended.last { $0.process == process }?.ending
        guard isOurs || ending != nil else { return false }
        self.current = process
        self.ending = ending
        return true
    }

    mutating func hasEnded(_ process: CInt, _ ending: SpawnedProcess.Ending) {
        self.ended.append((process, ending))
        if self.ended.count > Self.memory { self.ended.removeFirst() }
        if process == self.current { self.ending = ending }
    }

    /// What this process ends with.
    var status: CInt {
        switch self.ending {
        case .exited(let status): status
        case .signalled(let signal): 128 + signal
        // Nobody may take it for a success.
        case .unknown, nil: 1
        }
    }
}
