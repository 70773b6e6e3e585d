/// How many connections a director is made for.
public enum ConnectionLimits {
    public static let defaultConnections = 1 << 19
    /// A flow table of 1 GiB.
    public static let maximumConnections = 1 << 25
}
