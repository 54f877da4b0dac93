// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@Suite struct UpgradeErrorTests {
    @Test func `an error says on one line what happened, what to do and who serves`() {
        let error = UpgradeError(
            .successorExited, "the successor exited with status 3", cure: "Look at its output.", serving: .predecessor
        )
        #expect(
            error.description
                == "successorExited: the successor exited with status 3. Look at its output. (the old process serves)"
        )
    }

    @Test(
        arguments: [
            (.predecessor, "the old process serves"), (.successor, "the new process serves"),
            (.nobody, "nobody serves"),
        ] as [(UpgradeError.Serving, String)]
    )
    func `who serves is said in words`(_ serving: UpgradeError.Serving, _ words: String) {
        let error = UpgradeError(.system, "no room", serving: serving)
        #expect(error.description == "system: no room (\(words))")
    }

    @Test func `only who serves is changed by saying who serves`() {
        let error = UpgradeError(.stopping, "told to stop", cure: "Start it anew.")
        let now = error.whileServing(.nobody)
        #expect(now.serving == .nobody)
        #expect(now.whileServing(.predecessor) == error)
        #expect(now != error)
    }

    @Test func `a code is what it prints`() {
        #expect("\(UpgradeError.Code.pauseFailed)" == "pauseFailed")
        #expect(UpgradeError.Code.pauseFailed != .resumeFailed)
    }

    @Test func `an error is caught by its code`() {
        #expect {
            throw UpgradeError.inventoriesDiffer
        } throws: { error in
            (error as? UpgradeError)?.code == .inventoryMismatch
        }
    }
}
