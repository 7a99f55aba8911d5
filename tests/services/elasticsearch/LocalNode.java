import java.lang.reflect.Method;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;

import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginBundle;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * One Elasticsearch node in this process, until it is asked to end. The usual entry point is not in Maven Central: it wants
 * the command line tools, a keystore and the entitlement agent of the distribution. What is here is the same Node class.
 *
 * <p>Arguments: the home folder (lib, modules, config), then NAME=VALUE settings.
 */
public class LocalNode {
    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]);
        LogConfigurator.configureESLogging();
        Environment environment = environment(home, args);
        LogConfigurator.setNodeName(Node.NODE_NAME_SETTING.get(environment.settings()));
        LogConfigurator.configure(environment, true);

        PluginsLoader plugins = PluginsLoader.createPluginsLoader(modules(home.resolve("modules")), Set.of(), Map.of());
        Node node = new Node(environment, plugins);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception e) {
                e.printStackTrace();
            }
        }));
        node.start();
        new CountDownLatch(1).await(); // for ever
    }

    private static Environment environment(Path home, String[] args) {
        Settings.Builder settings = Settings.builder().put("path.home", home.toString());
        for (String arg : Arrays.asList(args).subList(1, args.length)) {
            int equals = arg.indexOf('=');
            settings.put(arg.substring(0, equals), arg.substring(equals + 1));
        }
        return InternalSettingsPreparer.prepareEnvironment(settings.build(), Map.of(), home.resolve("config"), () -> "local");
    }

    /** Found by name, since 9.x has a parameter more than 8.x: whether to look for stable plugins there, which are none. */
    @SuppressWarnings("unchecked")
    private static Set<PluginBundle> modules(Path folder) throws ReflectiveOperationException {
        for (Method method : PluginsLoader.class.getMethods()) {
            if (method.getName().equals("loadModulesBundles")) {
                Object[] args = method.getParameterCount() == 1 ? new Object[] {folder} : new Object[] {folder, false};
                return (Set<PluginBundle>) method.invoke(null, args);
            }
        }
        throw new NoSuchMethodException("PluginsLoader.loadModulesBundles");
    }
}
