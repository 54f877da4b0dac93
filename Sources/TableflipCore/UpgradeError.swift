// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// Why something about an upgrade did not happen, what to do about it, and who is serving now.
///
/// This is the error type of everything that an upgrader throws, but for the `CancellationError` of
/// `waitForPredecessor()`. Match on ``code``; show ``description`` to people.
///
/// ```swift
/// do {
///     try await upgrader.upgrade()
/// } catch {
///     logger.error("\(error)")   // what happened, what to do about it, and who serves now
///     if error.code == .upgradeRunning { return }
/// }
/// ```
///
/// Ask for the code inside the `catch`: the compiler of Swift 6.3 crashes on `catch where error.code == …` behind a call that
/// throws one type of error.
public struct UpgradeError: Error, Hashable, Sendable {
    /// What kind of failure it is. Codes may be added: a `switch` over them needs a `default`.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        /// The code's name, as logs and tools print it.
        public let description: String

        private init(_ description: String) { self.description = description }

        // MARK: Refusals: nothing was started

        /// An upgrade was asked of a process that does not serve yet.
        public static let notReady = Code("notReady")
        /// An upgrade is running already.
        public static let upgradeRunning = Code("upgradeRunning")
        /// The process before this one has not left yet.
        public static let predecessorAlive = Code("predecessorAlive")
        /// A successor that handed the service back has not left yet.
        public static let successorAlive = Code("successorAlive")
        /// This process has already been replaced.
        public static let replaced = Code("replaced")
        /// This process is stopping.
        public static let stopping = Code("stopping")

        /// The program itself refused, by a veto; the message holds its words.
        public static let vetoed = Code("vetoed")
        /// This process is the first one of a container (PID 1), and its end would end the container.
        public static let processOne = Code("processOne")

        // MARK: The successor could not be started

        /// The executable does not exist.
        public static let executableMissing = Code("executableMissing")
        /// The file exists but may not be executed.
        public static let executableNotPermitted = Code("executableNotPermitted")
        /// The file is not a program that this machine can run.
        public static let executableFormat = Code("executableFormat")
        /// The directory that the successor should start in is gone.
        public static let directoryMissing = Code("directoryMissing")
        /// The system refused to start a process for another reason.
        public static let spawnFailed = Code("spawnFailed")

        // MARK: The successor failed

        /// It exited before it had taken over.
        public static let successorExited = Code("successorExited")
        /// A signal ended it before it had taken over.
        public static let successorKilled = Code("successorKilled")
        /// It was not ready within the upgrade time-out, and was killed.
        public static let successorTimedOut = Code("successorTimedOut")
        /// It closed its channel and went on living, and was killed.
        public static let successorClosedChannel = Code("successorClosedChannel")
        /// It served, and did not answer any more; it was killed.
        public static let successorSilent = Code("successorSilent")
        /// It sent what the protocol does not allow, and was killed.
        public static let successorMisbehaved = Code("successorMisbehaved")
        /// It gave up by itself; the message holds its own words.
        public static let successorAborted = Code("successorAborted")
        /// The two speak no common version of the protocol.
        public static let versionMismatch = Code("versionMismatch")
        /// The two do not hold the same sockets.
        public static let inventoryMismatch = Code("inventoryMismatch")

        // MARK: Handing over failed

        /// A reader did not pause within its deadline, or failed to.
        public static let pauseFailed = Code("pauseFailed")
        /// A reader did not start to read within its deadline, or failed to.
        public static let resumeFailed = Code("resumeFailed")
        /// Connections do not move: the successor has nobody who would serve them.
        public static let notAdopted = Code("notAdopted")
        /// The successor did not pass its probation.
        public static let probationFailed = Code("probationFailed")
        /// Ownership (the PID file, the hooks) could not be given up or taken.
        public static let ownershipFailed = Code("ownershipFailed")
        /// The operator took the upgrade back.
        public static let rolledBack = Code("rolledBack")
        /// Only a rehearsal was asked for (`tableflipctl check --start`): the successor was ready, and was ended again.
        public static let rehearsed = Code("rehearsed")

        /// A final state could not be provided or restored; the message holds the application's words.
        public static let stateFailed = Code("stateFailed")
        /// A state was left in a layout that the successor does not read.
        public static let stateVersion = Code("stateVersion")

        // MARK: This process, as a successor

        /// The predecessor died or went away before it had handed over everything.
        public static let predecessorLost = Code("predecessorLost")
        /// The predecessor gave the upgrade up; the message holds its reason.
        public static let predecessorAborted = Code("predecessorAborted")
        /// The predecessor sent what the protocol does not allow.
        public static let predecessorMisbehaved = Code("predecessorMisbehaved")
        /// The environment names a channel that is not there.
        public static let staleEnvironment = Code("staleEnvironment")

        /// The application could not prepare to serve; the message holds its words.
        public static let initialisationFailed = Code("initialisationFailed")

        // MARK: Bad input

        /// A value of the configuration cannot work.
        public static let invalidConfiguration = Code("invalidConfiguration")
        /// An address cannot be listened on as it is written.
        public static let invalidAddress = Code("invalidAddress")
        /// Another process listens on the address.
        public static let addressInUse = Code("addressInUse")
        /// The system refused to bind or listen.
        public static let listenFailed = Code("listenFailed")
        /// Two sockets were asked for under one name.
        public static let duplicateName = Code("duplicateName")
        /// A call came at a moment at which it makes no sense.
        public static let wrongMoment = Code("wrongMoment")
        /// A second `Upgrader` was made in one process.
        public static let alreadyCreated = Code("alreadyCreated")
        /// The PID file cannot be written.
        public static let pidFile = Code("pidFile")
        /// A system call failed where it should not; the message names it.
        public static let system = Code("system")
    }

    /// Who serves after the failure, seen from the two processes of an upgrade.
    public enum Serving: String, Hashable, Sendable {
        /// The old process, as before.
        case predecessor
        /// The new process.
        case successor
        /// Neither of the two.
        case nobody
    }

    /// What kind of failure it is.
    public var code: Code
    /// What happened, in words. Names the path, address, process or message concerned.
    public var message: String
    /// What to do about it, in words; empty where there is nothing to say.
    public var cure: String
    /// Who serves now.
    public var serving: Serving
    /// Whether the successor had served already, and the old process has taken the service back.
    public var isRollback = false

    /// Makes an error.
    /// - Parameters:
    ///   - code: what kind of failure it is.
    ///   - message: what happened.
    ///   - cure: what to do about it.
    ///   - serving: who serves now.
    public init(_ code: Code, _ message: String, cure: String = "", serving: Serving = .predecessor) {
        self.code = code
        self.message = message
        self.cure = cure
        self.serving = serving
    }

    /// What something else failed at that says so by an error. One of the library's gives its message, and its cure if there is
    /// no other: what kind it is and who serves, the new one says.
    package init(_ code: Code, _ what: String, becauseOf error: any Error, cure: String? = nil) {
        let inner = error as? UpgradeError
        self.init(code, "\(what): \(error.quoted)", cure: cure ?? inner?.cure ?? "")
    }

    /// The same failure, with `serving` as who serves now.
    package func whileServing(_ serving: Serving) -> UpgradeError {
        var error = self
        error.serving = serving
        return error
    }
}

extension UpgradeError: CustomStringConvertible {
    /// The message, the cure and who serves now, on one line.
    public var description: String {
        let now =
            switch self.serving {
            case .predecessor: "the old process serves"
            case .successor: "the new process serves"
            case .nobody: "nobody serves"
            }
        let cure = self.cure.isEmpty ? "" : ". \(self.cure)"
        return "\(self.code): \(self.message)\(cure) (\(now))"
    }
}

extension Error {
    /// For the message of another error.
    package var quoted: String { (self as? UpgradeError)?.message ?? "\(self)" }
}
