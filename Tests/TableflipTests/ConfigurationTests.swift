// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@testable import Tableflip

@Suite struct ConfigurationTests {
    @Test func `what is not said is as in tableflip`() throws {
        let configuration = Upgrader.Configuration()
        try configuration.validate()
        #expect(configuration.upgradeTimeout == .seconds(60))
        #expect(configuration.pidFile == nil)
        #expect(configuration.successor == .init())
        #expect(configuration.probation.duration == .zero)
        #expect(configuration.signals == .standard)
    }

    @Test(arguments: [Duration.zero, .milliseconds(-1), .seconds(86_400 * 365 + 1)])
    func `a time that cannot work is refused by its name`(_ time: Duration) throws {
        for (name, configuration) in [
            ("upgradeTimeout", Upgrader.Configuration(upgradeTimeout: time)),
            ("drainTimeout", Upgrader.Configuration(drainTimeout: time)),
            ("pauseTimeout", Upgrader.Configuration(pauseTimeout: time)),
        ] {
            let error = try #require(throws: UpgradeError.self) { try configuration.validate() }
            #expect(error.code == .invalidConfiguration)
            #expect(error.message.contains(name))
        }
    }

    /// The other process does not know it.
    @Test func `a time that the other process waits for is at most half a minute`() throws {
        try Upgrader.Configuration(pauseTimeout: .seconds(30), hookTimeout: .seconds(30)).validate()
        for (name, configuration) in [
            ("pauseTimeout", Upgrader.Configuration(pauseTimeout: .milliseconds(30_001))),
            ("hookTimeout", Upgrader.Configuration(hookTimeout: .milliseconds(30_001))),
        ] {
            let error = try #require(throws: UpgradeError.self) { try configuration.validate() }
            #expect(error.code == .invalidConfiguration)
            #expect(error.message.contains(name) && error.cure.contains("half a minute"))
        }
    }

    @Test(arguments: ["", "/", "/run/", "a\0b"])
    func `a PID file that is none is refused`(_ path: String) throws {
        let error = try #require(throws: UpgradeError.self) { try Upgrader.Configuration(pidFile: path).validate() }
        #expect(error.code == .invalidConfiguration)
    }

    @Test(arguments: ["service.pid", "/run/service.pid", "./x", "a/b"])
    func `a PID file may be relative`(_ path: String) throws {
        try Upgrader.Configuration(pidFile: path).validate()
    }

    @Test(arguments: ["", "a\0b"])
    func `a path of the successor's that is none is refused`(_ path: String) {
        for successor in [
            Upgrader.Successor(executable: path), Upgrader.Successor(directory: path),
            Upgrader.Successor(environment: .inherited(andFile: path)),
        ] {
            let error = #expect(throws: UpgradeError.self) {
                try Upgrader.Configuration(successor: successor).validate()
            }
            #expect(error?.code == .invalidConfiguration, "\(successor)")
        }
    }

    @Test func `a signal cannot mean two things`() throws {
        let signals = UpgradeSignals(upgrade: [1, 12], stop: [15, 12])
        let error = try #require(throws: UpgradeError.self) {
            try Upgrader.Configuration(signals: signals).validate()
        }
        #expect(error.code == .invalidConfiguration)
        #expect(error.message.contains("12"))
    }

    @Test(arguments: [0, -1, 9, 19, 64 + 1] as [Int32])
    func `a signal that cannot be received is refused before anything is changed`(_ signal: Int32) throws {
        let configuration = Upgrader.Configuration(signals: .init(upgrade: [signal], stop: []))
        #expect(throws: UpgradeError.self) { try configuration.validate() }
    }
}
